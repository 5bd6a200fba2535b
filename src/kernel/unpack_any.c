/* unpack_any.c - tiles from any form, through the decoders of op/form.h. Slow and always right: what the unpackers of
 * a level are checked against, and what serves forms that nobody has hurried for. */
#include "kernel/kernel_parts.h"

#include "base/half.h"

#include <string.h>

void unpack_block_any(const Matrix *m, int row0, int col, int n, BlockTile *tile) {
    const FormInfo *info = form_info(m->form);
    const int per_group = info->group / 16, offset = form_offset(m);
    for (int o = 0; o < 16; o++) {
        const int row = row0 + o < m->rows ? row0 + o : m->rows - 1;
        for (int k = 0; k < n; k += 32) {
            Block32 b;
            info->block(m, row, col + k, &b);
            for (int i = 0; i < 32; i++)
                tile->q[(k + i) / 4][o][i % 4] = (uint8_t)(b.q[i] + offset);
            for (int g = 0; g < 2; g += per_group)
                tile->d[(k / 16 + g) / per_group][o] = b.d[g];
            if (info->has_min)
                tile->m[k / 32][o] = b.m[0];
        }
    }
}

void unpack_super_any(const Matrix *m, int row0, int col, SuperTile *tile) {
    const FormInfo *info = form_info(m->form);
    const int per_group = info->group / 16, groups = 16 / per_group;
    for (int o = 0; o < 16; o++) {
        const int row = row0 + o < m->rows ? row0 + o : m->rows - 1;
        Super256 s;
        info->super(m, row, col, &s);
        for (int i = 0; i < 256; i++)
            tile->q[i / 4][o][i % 4] = (uint8_t)(s.q[i] + info->offset);
        for (int g = 0; g < groups; g++) {
            tile->sc[g][o] = s.sc[g * per_group];
            tile->mn[g / 2][o][g % 2] = s.mn[g * per_group];
        }
        tile->d[o] = s.d;
        tile->dm[o] = s.dm;
    }
}

void unpack_float_any(const Matrix *m, int row0, int col, int from, int n, FloatTile *tile) {
    float row[TILE_COLS];
    for (int o = 0; o < 16; o++) {
        form_decode_row(m, row0 + o < m->rows ? row0 + o : m->rows - 1, col + from, n - from, row);
        for (int k = from; k < n; k++)
            tile->w[k][o] = row[k - from];
    }
}

void unpack_pair_any(const Matrix *m, int row0, int col, int from, int n, PairTile *tile) {
    float row[TILE_COLS + 1];
    for (int o = 0; o < 16; o++) {
        form_decode_row(m, row0 + o < m->rows ? row0 + o : m->rows - 1, col + from, n - from, row);
        row[n - from] = 0;
        for (int k = from; k < n; k += 2)
            tile->w[k / 2][o] = bf16_of_float(row[k - from]) | (uint32_t)bf16_of_float(row[k + 1 - from]) << 16;
    }
}
