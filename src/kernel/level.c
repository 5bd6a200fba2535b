/* level.c - which instruction sets this machine and its operating system offer, and the table for each level. */
#include "kernel/kernel_parts.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#define X86 1
#else
#define X86 0
#endif

static const char *const level_words[LEVEL_COUNT] = {"generic",    "avx2",       "avx512",
                                                     "avx512vnni", "avx512bf16", "amx"};

const char *level_word(Level level) {
    return (unsigned)level < LEVEL_COUNT ? level_words[level] : "unknown";
}

bool level_of_word(const char *word, Level *level) {
    for (int l = 0; l < LEVEL_COUNT; l++)
        if (strcmp(word, level_words[l]) == 0) {
            *level = (Level)l;
            return true;
        }
    return false;
}

#if X86
/* The register state that the operating system saves (XCR0): what it does not save must not be used. */
static uint64_t saved_state(void) {
    uint32_t low, high;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (uint64_t)high << 32 | low;
}

/* Linux gives out the 8 KiB of tile state only to processes that ask (arch/x86/include/uapi/asm/prctl.h). */
static bool may_use_tiles(void) {
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

static const char *why_no_tiles;

/* Tiles that the system does not save, does not allow, or that do not compute what they should are left alone. */
static bool tiles_usable(uint64_t state) {
    enum { STATE_TILES = 0x60000 };
    why_no_tiles = (state & STATE_TILES) != STATE_TILES ? "the operating system does not save its registers"
                   : !may_use_tiles()                   ? "the operating system refuses it (arch_prctl)"
                   : !tiles_work_amx()                  ? "its products differ from plain C's"
                                                        : NULL;
    return why_no_tiles == NULL;
}

static Level best_level(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_OSXSAVE) == 0)
        return LEVEL_GENERIC;
    const unsigned base = bit_FMA | bit_F16C | bit_AVX;
    const uint64_t state = saved_state();
    if ((c & base) != base || (state & 0x6) != 0x6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d))
        return LEVEL_GENERIC;
    const unsigned avx2 = bit_AVX2 | bit_BMI2;
    const unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL | bit_AVX512CD;
    if ((b & avx2) != avx2)
        return LEVEL_GENERIC;
    if ((b & avx512) != avx512 || (state & 0xE6) != 0xE6)
        return LEVEL_AVX2;
    if ((c & bit_AVX512VNNI) == 0)
        return LEVEL_AVX512;
    const bool vbmi = (c & bit_AVX512VBMI) != 0;
    const bool tiles = (d & (1u << 24)) != 0 && (d & (1u << 25)) != 0 && (d & (1u << 22)) != 0;
    if (!vbmi || !__get_cpuid_count(7, 1, &a, &b, &c, &d) || (a & bit_AVX512BF16) == 0)
        return LEVEL_AVX512VNNI;
    return tiles && tiles_usable(state) ? LEVEL_AMX : LEVEL_AVX512BF16;
}
#else
static const char *why_no_tiles;

static Level best_level(void) {
    return LEVEL_GENERIC;
}
#endif

static Level present;
static Kernels tables[LEVEL_COUNT];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill_tables(void) {
    present = best_level();
    for (int l = 0; l <= (int)present; l++) {
        Kernels *k = &tables[l];
        k->level = (Level)l;
        kernels_fill_rows_generic(k);
        kernels_fill_linear_generic(k);
        kernels_fill_attend_generic(k);
        kernels_fill_recur_generic(k);
        kernels_fill_index_generic(k);
        kernels_fill_streams_generic(k);
#if X86
        enum { PARTS = 6 };
        static void (*const fill[LEVEL_COUNT][PARTS])(Kernels *) = {
            [LEVEL_AVX2] = {kernels_fill_rows_avx2, kernels_fill_linear_avx2, kernels_fill_attend_avx2,
                            kernels_fill_recur_avx2, kernels_fill_index_avx2, kernels_fill_streams_avx2},
            [LEVEL_AVX512] = {kernels_fill_rows_avx512, kernels_fill_linear_avx512, kernels_fill_attend_avx512,
                              kernels_fill_recur_avx512, kernels_fill_index_avx512, kernels_fill_streams_avx512},
            [LEVEL_AVX512VNNI] = {kernels_fill_linear_avx512vnni},
            [LEVEL_AVX512BF16] = {kernels_fill_linear_avx512bf16, kernels_fill_attend_avx512bf16},
            [LEVEL_AMX] = {kernels_fill_linear_amx},
        };
        for (int below = LEVEL_AVX2; below <= l; below++)
            for (int part = 0; part < PARTS; part++)
                if (fill[below][part] != NULL)
                    fill[below][part](k);
#endif
    }
}

bool level_present(Level level) {
    pthread_once(&once, fill_tables);
    return level <= present;
}

const char *level_why_not_amx(void) {
    pthread_once(&once, fill_tables);
    return why_no_tiles;
}

Status kernels_of(Level level, const Kernels **kernels, Error *err) {
    FAIL_IF(!level_present(level), ERR_ARGUMENT, "this machine lacks the CPU level %s; it has levels up to %s",
            level_word(level), level_word(present));
    *kernels = &tables[level];
    return OK;
}

Status kernels_best(const Kernels **kernels, Error *err) {
    pthread_once(&once, fill_tables);
    const char *wanted = getenv("HOULE_CPU");
    Level level = present;
    if (wanted != NULL && *wanted != '\0' && (!level_of_word(wanted, &level) || !level_present(level))) {
        char list[128] = "";
        for (int l = 0; l <= (int)present; l++) {
            strcat(list, l > 0 ? ", " : "");
            strcat(list, level_words[l]);
        }
        return error_set(err, ERR_ARGUMENT, "HOULE_CPU=%.40s: not a CPU level of this machine, which has %s", wanted,
                         list);
    }
    return kernels_of(level, kernels, err);
}

ActForm kernel_act_form(const Kernels *kernels, Form form, Precision precision) {
    const FormClass kind = form_info(form)->kind;
    if (precision == PRECISION_FAST && kernels->level >= LEVEL_AVX512BF16 && (form == FORM_BF16 || form == FORM_BF16_T))
        return ACT_FORM_BF16;
    if (precision == PRECISION_F32 || kind == CLASS_FLOAT || kind == CLASS_SCALED)
        return ACT_FORM_F32;
    return kind == CLASS_BLOCK ? ACT_FORM_Q8_32 : ACT_FORM_Q8_256;
}

size_t act_form_bytes(ActForm form, int n) {
    switch (form) {
    case ACT_FORM_BF16: return act_bf16_bytes(n);
    case ACT_FORM_Q8_32: return act_q8_32_bytes(n);
    case ACT_FORM_Q8_256: return act_q8_256_bytes(n);
    default: return ((size_t)n * sizeof(float) + 63) & ~(size_t)63;
    }
}

void act_form_convert(const Kernels *kernels, ActForm form, void *row, const float *x, int n) {
    switch (form) {
    case ACT_FORM_BF16: kernels->round_bf16(row, x, n); break;
    case ACT_FORM_Q8_32: kernels->quantise_q8_32(row, x, n); break;
    case ACT_FORM_Q8_256: kernels->quantise_q8_256(row, x, n); break;
    default: memcpy(row, x, (size_t)n * sizeof *x); break;
    }
}

size_t cache_entry_bytes(CacheType type, int width) {
    const size_t n = (size_t)width;
    return type == CACHE_F32 ? 4 * n : type == CACHE_F16 ? 2 * n : n + 2 * ((n + 31) / 32);
}

size_t attend_scratch_bytes(int n_row, int key_width, int value_width) {
    (void)n_row;
    const size_t kw = ((size_t)key_width + 15) & ~(size_t)15, vw = ((size_t)value_width + 15) & ~(size_t)15;
    return ((kw + vw + ATTEND_MAX_ROWS) * CACHE_BLOCK + ATTEND_MAX_ROWS * kw + 16 * MAX(kw, vw)) * sizeof(float);
}

size_t index_scratch_bytes(int dim) {
    return (((size_t)dim + 15) & ~(size_t)15) * CACHE_BLOCK * sizeof(float);
}

void attend_merge(float *top, float *sum, float *out, float later_top, float later_sum, const float *later, int width) {
    if (later_top == -INFINITY)
        return;
    const float now = later_top > *top ? later_top : *top;
    const float mine = *top == -INFINITY ? 0 : expf(*top - now), theirs = expf(later_top - now);
    for (int d = 0; d < width; d++)
        out[d] = out[d] * mine + later[d] * theirs;
    *sum = *sum * mine + later_sum * theirs;
    *top = now;
}
