/* tiles.h - the few tile instructions of AMX that the kernels use.
 *
 * A tile is up to 16 rows of 64 bytes. TILE_DOT_S8 and TILE_DOT_BF16 add to a tile C [M][16] of 32-bit numbers the product
 * of A [M][K], rows of inputs, with B [K / 4 or K / 2][16][4 or 2], lanes of outputs as the kernels' unpacked tiles have
 * them. In 8 bits (signed) sums are exact. In bf16 the K products of an output (32 of them) are two chains of fused
 * multiply-adds from zero on, over the even and over the odd inputs; their sum is added to C (denormal numbers count as
 * zero, and rounding is to nearest even, whatever MXCSR says).
 *
 * Tiles are numbers in the instruction, so these are macros. Each says that it touches memory: compilers must not move
 * ordinary loads and stores across. Tests put a plain C emulation in their place (TILES_HEADER), since few machines have
 * the instructions. */
#ifndef HOULE_KERNEL_TILES_H
#define HOULE_KERNEL_TILES_H

#include <stddef.h>
#include <stdint.h>

/* What LDTILECFG reads. */
typedef struct TileConfig {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} TileConfig;
_Static_assert(sizeof(TileConfig) == 64, "64 bytes, as the instruction has it");

enum { TILE_ROWS = 16, TILE_BYTES = 64 };

#if defined(TILES_HEADER)
#include TILES_HEADER
#else

/* Tiles are configured for a unit of work and released after it, so that there is nothing to save when threads switch. */
static inline void tiles_configure(const TileConfig *config) {
    __asm__ volatile("ldtilecfg %0" : : "m"(*config) : "memory");
}

static inline void tiles_release(void) {
    __asm__ volatile("tilerelease" : : : "memory");
}

#define TILE_ZERO(t) __asm__ volatile("tilezero %%tmm" #t : : : "memory")
/* Rows `stride` bytes apart. */
#define TILE_LOAD(t, p, stride)                                                                                        \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #t : : "r"((const void *)(p)), "r"((size_t)(stride)) : "memory")
#define TILE_STORE(t, p, stride)                                                                                       \
    __asm__ volatile("tilestored %%tmm" #t ", (%0,%1,1)" : : "r"((void *)(p)), "r"((size_t)(stride)) : "memory")
/* c += a b */
#define TILE_DOT_S8(c, a, b) __asm__ volatile("tdpbssd %%tmm" #b ", %%tmm" #a ", %%tmm" #c : : : "memory")
#define TILE_DOT_BF16(c, a, b) __asm__ volatile("tdpbf16ps %%tmm" #b ", %%tmm" #a ", %%tmm" #c : : : "memory")

#endif

#endif
