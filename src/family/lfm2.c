/* lfm2.c - LFM2, dense. Liquid AI 2025. */
#include "family/lfm2_parts.h"

/* Two thirds of what the configuration says, times a factor, rounded up to a multiple. */
static int ffn_dim(const Cfg *c) {
    const int given = cfg_need(c, cfg_has(c, "block_ff_dim") ? "block_ff_dim" : "intermediate_size");
    const int multiple = cfg_int(c, "block_multiple_of", 256), most = 1 << 24;
    const float dim = (float)(2 * (int64_t)given / 3) * cfg_real(c, "block_ffn_dim_multiplier", 1);
    if (!cfg_bool(c, "block_auto_adjust_ff_dim", true))
        return given;
    if (multiple < 1 || multiple > most || !(dim >= 1 && dim <= (float)most)) {
        cfg_refuse(c, "config.json: a feed-forward block of width %g in multiples of %d", (double)dim, multiple);
        return 1;
    }
    return ((int)dim + multiple - 1) / multiple * multiple;
}

static Val block(Graph *g, const Cfg *c, Val x, int i) {
    x = lfm2_mixed(g, c, x, i);
    return add(g, x, lfm2_forward(g, norm(g, x, "ffn_norm"), ffn_dim(c)));
}

static void build(Graph *g, const Cfg *c) {
    lfm2_build(g, c, block);
}

const Family family_lfm2 = {.name = "lfm2",
                            .build = build,
                            .reply_format = "lfm2",
                            .since = "0.1",
                            .golden = "lfm2",
                            .covers = "LFM2 and LFM2.5, 230M to 2.6B",
                            .defaults = "{" LFM2_DEFAULTS "}"};
