/* graph.h - describing a network: the one header that a model family includes.
 *
 * A network is a list of operations on values. A value is [rows, width] floats; rows are the tokens of a step, however
 * many those are. Weights are declared where they are used, under the names of the published safetensors files, with
 * a scope stack for the prefix ("model.layers.3.self_attn."). State that outlives a step (caches) is declared too.
 * Loading, planning, running, inspecting are passes over the list; see docs/architecture.md.
 *
 * Nothing here returns an error: the first mistake is kept in the graph and stops the building, so that descriptions
 * read like formulas.
 *
 * Shape letters: T tokens, D width of the model, H query heads, K key/value heads, d head width, F hidden width of a
 * feed-forward block, E experts, V vocabulary. */
#ifndef HOULE_GRAPH_H
#define HOULE_GRAPH_H

#include "graph/cfg.h"
#include "op/op_row.h"

typedef struct Graph Graph;
typedef int Val; /* a value; NO_VAL where there is none */
enum { NO_VAL = -1 };

/* How a weight is shared out when a model is split over ranks. */
typedef enum Split { SPLIT_NONE, SPLIT_ROWS, SPLIT_COLS, SPLIT_EXPERTS } Split;

/* ---- scopes -------------------------------------------------------------------------------------------------------- */

void push(Graph *g, const char *format, ...) PRINTF_LIKE(2, 3); /* adds "name." to the prefix */
void pop(Graph *g);
const Cfg *graph_cfg(const Graph *g);
int width_of(const Graph *g, Val x);
/* a * b as a width: for numbers that a configuration gives. The graph fails (and 1 is given) when that is no width. */
int width_product(Graph *g, int a, int b);
/* Whether the model's files hold a tensor of this name (under the scope): for optional parts that no key tells of. */
bool has_tensor(const Graph *g, const char *name);

/* ---- defaults for the whole network ---------------------------------------------------------------------------------- */

typedef enum NormKind { NORM_RMS, NORM_LAYER, NORM_L2 } NormKind;

/* How norm() behaves from here on. plus_one: weights are stored as (factor - 1). Initially RMS, eps from rms_norm_eps. */
void norm_style(Graph *g, NormKind kind, float eps, bool plus_one);
float norm_eps(const Graph *g);

/* What becomes of a vector of weights when it is read. (GGUF files hold it done: there it is MAP_NONE for all.) */
typedef enum VectorMap { MAP_NONE, MAP_NEG_EXP /* -e^w */, MAP_EXP /* e^w */ } VectorMap;

/* ---- simple operations ----------------------------------------------------------------------------------------------- */

Val add(Graph *g, Val a, Val b);
Val mul(Graph *g, Val a, Val b); /* b may be narrower by a whole factor: each number of b then serves a run of a */
Val scale(Graph *g, Val x, float factor);
Val affine(Graph *g, Val x, float factor, float plus);
Val act(Graph *g, Val x, Act kind);
Val softcap(Graph *g, Val x, float cap);
Val softmax(Graph *g, Val x, int group); /* over each run of `group` numbers */
Val slice(Graph *g, Val x, int begin, int width); /* a view */
Val concat(Graph *g, Val a, Val b);
/* For each of `groups` runs of x: numbers [begin, begin + width) of the run; result [T, groups * width]. */
Val slice_heads(Graph *g, Val x, int groups, int begin, int width);
/* Interleaves by runs: for each of `groups`: a's part, then b's. A b of one part's width is repeated for all. */
Val concat_heads(Graph *g, Val a, Val b, int groups);
Val repeat_heads(Graph *g, Val x, int groups, int times); /* run i of x becomes runs i*times .. i*times+times-1 */
/* x * weight or x + weight, a vector of weights as wide as x */
Val mul_weight(Graph *g, Val x, const char *name);
Val add_weight(Graph *g, Val x, const char *name);
/* x * weight, a vector of `width` numbers that serves each run of x (1: a single factor). */
Val mul_weight_runs(Graph *g, Val x, const char *name, int width);
/* x * weight, a vector of n: each of its numbers serves a run of x. */
Val mul_runs(Graph *g, Val x, const char *name, int n, VectorMap map);

/* Normalised by norm_style(); weight "name.weight" as wide as x. */
Val norm(Graph *g, Val x, const char *name);
/* Each run of `width` numbers is normalised by itself, all with the same weights of that width. */
Val norm_heads(Graph *g, Val x, const char *name, int width);
/* Each of `groups` runs by itself, with weights as wide as the whole. */
Val norm_groups(Graph *g, Val x, const char *name, int groups);
/* Whatever norm_style() says: x - mean over the deviation, times "name.weight", plus "name.bias". */
Val norm_layer(Graph *g, Val x, const char *name, float eps);
/* Without weights. */
Val norm_plain(Graph *g, Val x, int width, NormKind kind, float eps);

typedef struct Glu {
    Act act;
    float limit;  /* clamps gate from above and up to +-limit; 0 = none */
    bool late;    /* the gate is clamped after its activation instead of before */
    bool oai;     /* op_glu_oai with alpha and the limit */
    float alpha;  /* 0 = 1.702 */
} Glu;
Val glu(Graph *g, Val gate, Val up, Glu spec);

/* y = x W^T (+ bias); weight "name.weight" [out, in], bias "name.bias" [out]. */
Val linear(Graph *g, Val x, const char *name, int out, bool bias, Split split);
/* Computed in float whatever the precision: routers, small projections whose errors would be decisive. */
Val linear_exact(Graph *g, Val x, const char *name, int out, bool bias);
/* A linear whose tensor holds more: rows [begin, begin + out) of "name.weight" with `whole` rows. */
Val linear_part(Graph *g, Val x, const char *name, int whole, int begin, int out, bool bias, Split split);
/* Block-diagonal: run h of x [T, groups * in] times its own matrix [out, in]; weight "name.weight" [groups * out, in],
 * or the part [begin, begin + out) of each group's `whole` rows. */
typedef struct Grouped {
    int groups, out;
    int whole, begin;  /* 0, 0: all rows */
    bool transposed;   /* each group's part stands for its transpose: [in, out] is stored */
} Grouped;
Val linear_grouped(Graph *g, Val x, const char *name, Grouped spec, Split split);

/* ---- beginning and end --------------------------------------------------------------------------------------------------- */

Val embed(Graph *g, const char *name, int vocab, int width);
/* Learned positions: row `first` + place of the token in its text, of a table of `rows`. Longer texts are refused. */
Val embed_places(Graph *g, const char *name, int rows, int first, int width);
/* Which of `kinds` segments of the text the token belongs to (Batch.segments). */
Val embed_segments(Graph *g, const char *name, int kinds, int width);
/* From here on, tables are not asked for `token`, which stands for something else than text (a picture, say), but for
 * the token `as`, the same for all such tokens. */
void blank_token(Graph *g, int token, int as);
/* Keeps only the rows whose logits are wanted. */
Val wanted_rows(Graph *g, Val x);
/* The value that is the result: logits [rows wanted, V]. */
void set_output(Graph *g, Val logits);
/* Networks that read only, and write no text. */
typedef enum Result {
    RESULT_LOGITS,
    RESULT_HIDDEN, /* what stands for each token: vectors of texts are made of it */
    RESULT_SCORES, /* a number for each label that the text may have; the row of its first token counts */
} Result;
/* hidden: the last layer's rows, those that are wanted. scores NO_VAL: the result is these. */
void set_reading(Graph *g, Val hidden, Val scores);
/* What decoder() multiplies with the matrix of the vocabulary. */
Val last_rows(const Graph *g);
/* Marks the value after layer i, for inspection: what `--hidden` writes. */
void mark_hidden(Graph *g, Val x, int layer);

typedef Val (*BlockFn)(Graph *g, const Cfg *c, Val x, int layer);
/* `count` blocks one behind the other, under "<scope>.0", "<scope>.1", ..., marked for inspection. */
Val layers(Graph *g, const Cfg *c, Val x, BlockFn block, int count, const char *scope);
/* The usual decoder: model.embed_tokens, num_hidden_layers blocks under model.layers.N, model.norm, lm_head (or the
 * embedding when tied). */
typedef struct Decoder {
    float embed_scale;   /* 0 = none */
    float logit_scale;   /* 0 = none; multiplies the logits */
    float softcap;       /* of the logits; 0 = none */
    bool head_bias;      /* lm_head.bias */
    const char *norm;    /* NULL = "norm", "" = none */
    const char *prefix;  /* NULL = "model" */
    Val (*prepare)(Graph *g, const Cfg *c, Val x); /* from the embedding: something that all layers use */
    int streams;         /* the embedding is repeated so many times; 0 = once */
    Val (*collapse)(Graph *g, const Cfg *c, Val x); /* makes one of several streams before the norm; NULL = none */
} Decoder;
void decoder(Graph *g, const Cfg *c, BlockFn block, Decoder spec);
/* Layers after the last that predict further tokens, num_nextn_predict_layers of them: `block` describes their decoder
 * layer. Their weights are declared as kept, nothing of them runs. */
void predicting_layers(Graph *g, const Cfg *c, BlockFn block);
/* The same where files call them otherwise: `describe` declares the i-th of `count`, from the outermost scope on, and all that
 * belongs to it. x: what the last layer gives. Files without the tensor `sign` have none. */
void predicting_layers_as(Graph *g, const Cfg *c, int count, const char *sign, BlockFn describe);
/* What Decoder.prepare made. */
Val prepared(const Graph *g);

/* ---- rotary positions ---------------------------------------------------------------------------------------------------- */

typedef struct Rope {
    int dim;             /* how many numbers of a head are rotated, from its start; 0 = none */
    bool interleaved;    /* pairs (2i, 2i + 1) instead of (i, i + dim/2) */
    const float *freqs;  /* [dim/2] radians per position, owned by the graph */
    float magnitude;     /* cosines and sines are multiplied by it; 0 = 1 */
    /* Scalings that depend on the length which a sequence is declared to reach (its context). */
    const float *freqs_long; /* used once that is over long_after; NULL = none */
    int long_after;
    float dynamic;       /* dynamic NTK: factor; 0 = none. theta and long_after belong to it. */
    float theta;
} Rope;

/* The usual keys: rope_theta, rope_scaling / rope_parameters with every published rope_type. `layer_type` picks one of
 * rope_parameters that has an object per layer type; NULL otherwise. dim = head_dim * partial_rotary_factor. */
Rope rope_of(Graph *g, const Cfg *c, int head_dim, const char *layer_type);
/* The same, but `dim` numbers are rotated whatever the configuration says of a part (families with a key for it). */
Rope rope_sized(Graph *g, const Cfg *c, int dim, const char *layer_type);
/* The same with another base: for families that give a second one under a key of their own. */
Rope rope_based(Graph *g, const Cfg *c, int dim, float theta);
/* What scalings with mscale_all_dim multiply the attention's products by; 1 without. */
float rope_score_scale(const Cfg *c);
/* Plain rotation: freqs theta^(-2i/dim). */
Rope rope_plain(Graph *g, int dim, float theta);
/* Rotates numbers [begin, begin + rope.dim) of each of `heads` runs. inverse turns back. */
typedef struct RopeAt { int heads, begin; bool inverse; int stride; } RopeAt; /* stride > 1: position = entry * stride */
Val rope(Graph *g, Val x, Rope spec, RopeAt at);

/* ---- attention ----------------------------------------------------------------------------------------------------------- */

/* What a cache keeps per token. A state is declared once and may be read by later layers (`share`). */
typedef int State;
enum { NO_STATE = -1 };
/* heads runs of `width` numbers per entry; one entry for `stride` tokens; only the last `window` tokens matter
 * (0 = all). exact: kept as float whatever the cache type. */
typedef struct RowState { int heads, width, stride, window; bool exact; } RowState;
State state_rows(Graph *g, const char *name, RowState spec);
/* `floats` numbers per sequence, initially zero: recurrent layers. */
State state_memory(Graph *g, const char *name, int floats);
/* The last `tokens` tokens' numbers, `width` floats each: what a causal convolution or an n-gram looks back at. */
State state_recent(Graph *g, const char *name, int width, int tokens);

/* Writes x (its heads * width) into the state, at the token's entry. */
void store(Graph *g, Val x, State state);

typedef struct Attend {
    int heads, kv_heads;
    int key_width, value_width; /* of a head */
    float scale;                /* of the products; 0 = 1 / sqrt(key_width) */
    float softcap;
    int window;                 /* sees the last `window` tokens, itself included; 0 = all */
    int chunk;                  /* sees back to the last multiple of `chunk` only; 0 = all */
    bool both;                  /* sees what follows, too (the window: as far in both directions). Texts are computed whole */
    const char *sinks;          /* weight [heads]: a logit that takes part in the softmax and has no value */
    State keys, values;         /* values may be the keys: the first value_width numbers of each entry */
    Val chosen;                 /* NO_VAL or what choose() gave; use NO_VAL explicitly (0 is a value) */
    int span;                   /* entries that a chosen item stands for, from item * span on; 0 = 1 */
    bool tail;                  /* entries after the last whole item are seen too */
    /* A second cache in the same softmax, keys and values in one: all its entries, or chosen ones. */
    bool more;
    State more_keys;
    Val more_chosen;
} Attend;
/* query [T, heads * key_width] -> [T, heads * value_width] */
Val attend(Graph *g, Val query, Attend spec);
/* Every token sees its whole text, or a window around itself: key and value are those of this step, kept for this layer
 * only. keys, values and chosen of the spec are not needed. */
Val attend_text(Graph *g, Val query, Val key, Val value, Attend spec);

/* Which entries a token attends to, when not all: an index of narrow keys is asked first. The score of entry e is the sum
 * over the heads of a group of weight * max(0, scale * query . key[e]); items are runs of `span` entries and count as their
 * best one. Each group of heads gives a list of at most `top` items, ascending; of equal scores the first is taken.
 * When no more than `top` items are there, all are chosen. */
typedef struct Choice {
    int heads, dim;     /* of the query */
    int groups;         /* 0 = 1 */
    int top;
    int span;           /* 0 = 1 */
    int local;          /* the last items are chosen whatever their score */
    float scale;        /* 0 = 1 / sqrt(dim) */
    bool plain;         /* products count as they are, negative ones too */
    State keys;         /* one head of `dim` numbers */
} Choice;
/* query [T, heads * dim], weights [T, heads] or NO_VAL (all one) -> [T, groups * (1 + top)]: how many, then the items. */
Val choose(Graph *g, Val query, Val weights, Choice spec);
/* What the last choose() gave, for layers that go by the choice of an earlier one; NO_VAL when there was none. */
Val last_choice(const Graph *g);

/* One row for `ratio` tokens: at the last token of each run of `ratio`, the values of the run's tokens are averaged, each
 * channel with weights of its own: the softmax over the run of gate + bias[place in the run]. overlap: there are two series
 * of values and gates; the second series of a run goes with the first series of the run before. Tokens that end no run give
 * zeros; store() into a state of stride `ratio` keeps the others. What is needed of earlier tokens is kept in a state. */
typedef struct Pool {
    int ratio, width;
    bool overlap;
    const char *bias;   /* vector [ratio, width or 2 * width]; NULL = none */
    const char *name;   /* of the state with the tokens' numbers; NULL = "pool" */
} Pool;
/* values, gates [T, width] or [T, 2 * width]; gates NO_VAL: the mean. -> [T, width] */
Val pool_rows(Graph *g, Val values, Val gates, Pool spec);

/* Attention as most families have it; zero means off. Names are the published ones. */
typedef struct Attn {
    int heads, kv_heads, head_dim;
    int value_dim;            /* 0 = head_dim */
    Rope rope;                /* dim 0: no positions */
    float scale, softcap;
    int window, chunk;
    bool both;                /* as in Attend */
    bool qkv_bias, out_bias;
    const char *qkv;          /* fused projection of that name: rows of q, then k, then v */
    const char *q_norm, *k_norm; /* names; NULL = none */
    bool norm_whole;          /* over all heads together instead of each by itself */
    bool norm_late;           /* after the rotation instead of before */
    bool norm_bare;           /* of q and k, each head by itself, without weights; the names are not needed */
    bool value_norm;          /* of v likewise, before it is stored */
    bool value_is_key;        /* no v_proj: v is what k_proj gives */
    float value_scale;        /* v *= it; 0 = 1 */
    bool borrow;              /* no keys and values of its own: those of the earlier layer `lender` are read */
    int lender;
    const char *sinks;
    const char *gate;         /* projection to one number per head (or per output): output *= sigmoid of it */
    int gate_width;           /* 0 = heads */
    bool gate_in_q;           /* q_proj gives query and gate for each head */
    float temp_scale;         /* query *= 1 + temp_scale * log(1 + floor((pos + temp_plus) / temp_floor)) */
    int temp_floor, temp_plus;
    const char *out;          /* NULL = "o_proj" */
    const char *scope;        /* NULL = "self_attn" */
    Val (*choose)(Graph *g, const Cfg *c, Val x); /* which entries are seen, from the block's input; NULL = all */
    int span;                 /* as in Attend, with choose */
    bool tail;
} Attn;
Attn attn_of(Graph *g, const Cfg *c); /* the usual keys, for the layer being described; to be amended */
Val attention(Graph *g, Val x, Attn spec);

/* Latent attention (Liu et al. 2024): keys and values of all heads are projections of one narrow row per token. The
 * cache holds that row and the part of the key that carries positions; the projections are applied to the query and to
 * the result instead. */
typedef struct Mla {
    int heads;
    int q_rank;               /* 0: q_proj gives the query at once */
    int kv_rank, nope_dim, rope_dim, value_dim; /* rope_dim 0: the keys have no such part */
    Rope rope;                /* dim 0: the rope_dim numbers are used unrotated */
    float scale;              /* of the products; 0 = 1 / sqrt(nope_dim + rope_dim) */
    float q_scale, kv_scale;  /* multiply query and row; 0 = 1 */
    bool bias;                /* of q_a, kv_a and o */
    float temp_scale;         /* as in Attn */
    int temp_floor, temp_plus;
    const char *gate;         /* projection to one number per head: the head's result *= sigmoid of it */
    const char *scope;        /* NULL = "self_attn" */
    const char *out;          /* NULL = "o_proj" */
    /* Sparse: chooses the entries. x is the block's input, q_low the query's narrow row. NULL = all are seen. */
    Val (*choose)(Graph *g, const Cfg *c, Val x, Val q_low);
    int span;                 /* as in Attend */
    bool tail;
} Mla;
Mla mla_of(Graph *g, const Cfg *c); /* the usual keys */
Val mla(Graph *g, Val x, Mla spec);

/* x *= 1 + temp_scale * log(1 + floor((position + plus) / floor_at)) */
Val scale_by_position(Graph *g, Val x, float temp_scale, int floor_at, int plus);

/* ---- convolutions and recurrent layers ----------------------------------------------------------------------------------- */

/* Each channel is convolved with itself over the last `taps` tokens (or every dilation-th of them), the token itself
 * being the last. Weights "name.weight" [channels, 1, taps], bias "name.bias". */
typedef struct Conv {
    const char *name[3]; /* one for each input; only the first: it has the channels of all inputs, in order */
    int taps, dilation;  /* dilation 0 = 1 */
    bool bias;
    Act act;
} Conv;
enum { CONV_INPUTS = 3 };
/* The n <= CONV_INPUTS inputs stand side by side in the result. */
Val conv(Graph *g, const Val *inputs, int n, Conv spec);

/* A matrix per head that fades, takes up key and value, and is read by the query: op/op_recur.h says what happens. */
typedef struct Recur {
    int heads, key_heads;  /* key head of head h: h / (heads / key_heads), or h % key_heads when tiled */
    int key_width, value_width;
    bool delta, tiled;
    float scale;           /* of the query; 0 = 1 / sqrt(key_width) */
    const float *decays;   /* [heads], used when there is no value for it; owned by the graph */
} Recur;
/* query, key [T, key_heads * key_width], value [T, heads * value_width]; decay [T, heads] or [T, heads * key_width];
 * strength [T, heads] or NO_VAL (1) -> [T, heads * value_width] */
Val recur(Graph *g, Val query, Val key, Val value, Val decay, Val strength, Recur spec);

/* Rows of hashed tables for each run of 2 .. size tokens that ends with the token: op/op_ngram.h says which. The tables are
 * one matrix "name.weight" [rows, width], or parts "name.shard_N.weight" of equal size, the last maybe smaller. */
typedef struct Ngram {
    int size, heads, width;       /* `heads` tables for each length; numbers in a row */
    int stop;                     /* a token that runs do not reach across */
    const int64_t *factors;       /* [size] */
    const int64_t *sizes, *offsets; /* [(size - 1) * heads] rows; all owned by the graph */
    int64_t rows;
    int shards;                   /* 0 = one matrix */
    const char *name;
} Ngram;
enum { NGRAM_LISTS = 256 };       /* tables at the most */
/* [T, (size - 1) * heads * width], one after the other; x: any value of the tokens. */
Val ngram(Graph *g, Val x, Ngram spec);
/* n numbers that live as long as the description; NULL when there is no memory. */
int64_t *graph_longs(Graph *g, int n);
/* Products of the runs of a and b, times scale -> [T, runs]. root: sign(x) sqrt(max(|x|, 1e-6)) of them. */
Val dot_runs(Graph *g, Val a, Val b, int runs, float scale, bool root);

/* The layers that are built from them, each with its projections. */

/* Gated delta net (Yang, Kautz & Hatamizadeh 2024). */
typedef struct DeltaNet {
    int key_heads, value_heads, key_width, value_width, taps;
    bool fused_qkvz, fused_ba; /* one projection for q, k, v and gate, one for strength and decay: rows by key head */
    bool tiled;
    Act act, gate;             /* of the convolution, of the output; ACT_NONE = SiLU */
    const char *scope;         /* NULL = "linear_attn" */
} DeltaNet;
DeltaNet delta_net_of(Graph *g, const Cfg *c); /* the usual keys, linear_num_key_heads and so on */
Val delta_net(Graph *g, Val x, DeltaNet spec);

/* KDA (arXiv 2510.26692): a delta net in which each channel of the key fades by itself. Its decay is
 * e^(-rate softplus(f + dt_bias)), or e^(lower_bound sigmoid(rate (f + dt_bias))), with a rate for each head. */
typedef struct Kda {
    int heads, head_dim, taps;
    bool low_rank;             /* f and the output's gate by way of head_dim numbers: f_a_proj, f_b_proj, g_a_proj, g_b_proj */
    float lower_bound;         /* of the decay's logarithm; 0: there is none */
    VectorMap rate;            /* MAP_EXP, or MAP_NEG_EXP where GGUF files hold -e^A_log (0 = that) */
    Act act;                   /* of the convolutions; ACT_NONE = SiLU */
    const char *scope, *out;   /* NULL = "self_attn", "o_proj" */
} Kda;
Kda kda_of(Graph *g, const Cfg *c); /* the usual keys, linear_num_heads and so on */
Val kda(Graph *g, Val x, Kda spec);

/* Mamba-2 (Dao & Gu 2024). */
typedef struct Mamba {
    int heads, head_width, groups, state_width, taps;
    bool bias, conv_bias;      /* of the projections; of the convolution */
    Act act;                   /* of convolution and gate; ACT_NONE = SiLU */
    const char *scope;         /* NULL = "mamba" */
} Mamba;
Mamba mamba_of(Graph *g, const Cfg *c); /* the usual keys, mamba_n_heads and so on; the biases of projections are the family's */
Val mamba(Graph *g, Val x, Mamba spec);

/* Lightning attention (Qin et al. 2024; arXiv:2501.08313): decays fixed per head and layer. */
typedef struct Lightning {
    int heads, head_dim;
    float norm_eps;
    Act act;                   /* of q, k and v; ACT_NONE = SiLU */
} Lightning;
Val lightning(Graph *g, Val x, Lightning spec);

/* A gated short convolution: out_proj(C * conv(B * x)), with B, C, x from in_proj. */
typedef struct ShortConv {
    int taps;
    bool bias;
    const char *scope;         /* NULL = "conv" */
} ShortConv;
Val short_conv(Graph *g, Val x, ShortConv spec);

/* ---- feed-forward -------------------------------------------------------------------------------------------------------- */

typedef struct Ffn {
    int dim;
    Act act;
    float limit;
    bool late, oai;            /* as in Glu */
    bool bias;
    bool no_gate;              /* down(act(up x)) */
    const char *gate, *up, *down; /* NULL = gate_proj, up_proj, down_proj */
    const char *fused;         /* one tensor with the rows of gate, then of up */
    const char *scope;         /* NULL = "mlp" */
} Ffn;
Ffn ffn_of(Graph *g, const Cfg *c);
/* The activation that a key of the configuration names; SiLU when it is absent. */
Act act_of(Graph *g, const Cfg *c, const char *key);
Val ffn(Graph *g, Val x, Ffn spec);

typedef enum Score {
    SCORE_SOFTMAX,       /* softmax over all experts, then choose */
    SCORE_SIGMOID,
    SCORE_SOFTMAX_TOPK,  /* choose by raw score, softmax over the chosen */
    SCORE_SIGMOID_TOPK,  /* choose by raw score, sigmoid of each chosen */
    SCORE_SQRT_SOFTPLUS,
} Score;

/* What scoring_func says, which only some configurations do. */
Score score_of(const Cfg *c, Score otherwise);

typedef struct Moe {
    int experts, used, dim;
    int shared_dim;            /* width of the shared expert; 0 = none */
    int groups, groups_used;   /* group-limited choice: 0 = off */
    bool group_by_top2;        /* a group's score is the sum of its two best (with correction), else its best */
    Score score;
    Glu glu;
    bool no_gate;              /* experts have up and down only */
    Act act;                   /* with no_gate */
    bool renormalise;          /* chosen weights are divided by their sum */
    float renormalise_eps;     /* added to that sum */
    float renormalise_min;     /* that sum counts as at least this */
    float scale;               /* of the routed sum; 0 = 1 */
    bool scale_input;          /* weights multiply the experts' input instead of their output */
    const char *router;        /* NULL = "gate" */
    bool router_bias;
    const char *correction;    /* name of a vector added to the scores for choosing only */
    const char *expert_scale;  /* name of a vector: each chosen weight is multiplied by its expert's */
    bool bias;                 /* experts have biases */
    const char *experts_scope; /* NULL = "experts", "" = none */
    bool expert_w;             /* experts' tensors are called w1 (gate), w3 (up), w2 (down) */
    bool interleaved;          /* fused gate_up_proj: rows alternate, gate first */
    bool transposed;           /* stacked tensors are [E, in, out] */
    const char *stacked_up, *stacked_down; /* what stacked tensors are called in the experts' scope; NULL = gate_up_proj
                                            * (up_proj with no_gate), down_proj */
    const char *shared;        /* NULL = "shared_experts" */
    const char *shared_gate;   /* linear to one number; sigmoid of it multiplies the shared expert */
    Ffn shared_ffn;            /* names and activation of the shared expert; dim is shared_dim */
    int zero_experts;          /* further router outputs that stand for the identity */
    const char *hash_table;    /* tensor [V, used] of experts by token id instead of a choice */
    Val router_input;          /* NO_VAL = x; else what the router (only) sees. Set with has_router_input. */
    bool has_router_input;
    const char *latent_in, *latent_out; /* projections around the experts; NULL = none */
    int latent_dim;
    const char *scope;         /* NULL = "mlp", "" = none */
} Moe;
Moe moe_of(Graph *g, const Cfg *c); /* the usual keys; choice and names are the family's */
Val moe(Graph *g, Val x, Moe spec);

/* ---- hyper-connections ---------------------------------------------------------------------------------------------------- */

/* The residual is n streams of width D (Zhu et al. 2024; doubly stochastic mixing: Xie et al. 2026). A block sees a
 * mixture of them and its result goes back to all:
 *
 *     w = hyper_weights(g, streams, "hc_attn_", spec);
 *     streams = hyper_expand(g, streams, block(hyper_collapse(g, streams, w)), w);
 *
 * weights "<name>fn" [(2 + n) n, n D], "<name>base", "<name>scale" [3]. */
typedef struct Hyper {
    int streams;
    int iterations; /* of the normalisation of rows and columns (Sinkhorn & Knopp 1967) */
    float eps;
    bool collapse_only; /* weights "fn" [n, n D], "base", "scale" [1]: for the end of the network */
} Hyper;
Val hyper_weights(Graph *g, Val streams, const char *name, Hyper spec);
Val hyper_collapse(Graph *g, Val streams, Val weights, int n);
Val hyper_expand(Graph *g, Val streams, Val result, Val weights, int n);

/* ---- families -------------------------------------------------------------------------------------------------------------- */

typedef struct Family {
    const char *name;           /* model_type of config.json, or the name GGUF's architecture maps to */
    void (*build)(Graph *g, const Cfg *c);
    const char *defaults;       /* JSON: what keys stand for that a config.json leaves out; NULL = nothing */
    const char *reply_format;   /* rows of the reply parsers' table, the usual one first, a space between; NULL = plain */
    const char *since;          /* first version of houle that runs it */
    const char *golden;         /* reference folder that proves it */
    const char *covers;         /* published models, for people */
} Family;

#endif
