/* form.c - the table of forms, the plain and scaled floats, and decoding to float for all of them. */
#include "op/form.h"

#include "base/half.h"
#include "op/form_ggml.h"
#include "op/form_split.h"

#include <string.h>

static const FormInfo form_infos_float[FORM_COUNT] = {
    [FORM_F32] = {"F32", CLASS_FLOAT, 0, false, 0, 0, 1, NULL, NULL},
    [FORM_F16] = {"F16", CLASS_FLOAT, 0, false, 0, 0, 1, NULL, NULL},
    [FORM_BF16] = {"BF16", CLASS_FLOAT, 0, false, 0, 0, 1, NULL, NULL},
    [FORM_F32_T] = {"F32 transposed", CLASS_FLOAT, 0, false, 0, 0, 1, NULL, NULL},
    [FORM_F16_T] = {"F16 transposed", CLASS_FLOAT, 0, false, 0, 0, 1, NULL, NULL},
    [FORM_BF16_T] = {"BF16 transposed", CLASS_FLOAT, 0, false, 0, 0, 1, NULL, NULL},
    [FORM_GPTQ_ORDER] = {"GPTQ ordered", CLASS_FLOAT, 0, false, 0, 0, 8, NULL, NULL},
    [FORM_F8_BLOCK] = {"F8_E4M3", CLASS_SCALED, 0, false, 0, 0, 1, NULL, NULL},
    [FORM_F8_E8M0] = {"F8_E4M3 E8M0", CLASS_SCALED, 0, false, 0, 0, 1, NULL, NULL},
    [FORM_F8_BLOCK_T] = {"F8_E4M3 transposed", CLASS_SCALED, 0, false, 0, 0, 1, NULL, NULL},
    [FORM_F8_E8M0_T] = {"F8_E4M3 E8M0 transposed", CLASS_SCALED, 0, false, 0, 0, 1, NULL, NULL},
};

const FormInfo *form_info(Form form) {
    if (form_infos_float[form].name != NULL)
        return &form_infos_float[form];
    if (form_infos_ggml[form].name != NULL)
        return &form_infos_ggml[form];
    if (form_infos_iq[form].name != NULL)
        return &form_infos_iq[form];
    return &form_infos_split[form];
}

bool form_by_rows(Form form) {
    switch (form) {
    case FORM_F32_T: case FORM_F16_T: case FORM_BF16_T: case FORM_F8_BLOCK_T: case FORM_F8_E8M0_T:
    case FORM_GPTQ: case FORM_GPTQ_ORDER: case FORM_AWQ: return false;
    default: return true;
    }
}

size_t form_matrix_bytes(const Matrix *m) {
    const size_t rows = (size_t)m->rows, cols = (size_t)m->cols;
    size_t bytes;
    switch (m->form) {
    case FORM_F32_T: bytes = rows * cols * 4; break;
    case FORM_F16_T: case FORM_BF16_T: bytes = rows * cols * 2; break;
    case FORM_F8_BLOCK_T: case FORM_F8_E8M0_T: bytes = rows * cols; break;
    case FORM_GPTQ: case FORM_GPTQ_ORDER: case FORM_AWQ: bytes = rows * cols * m->bits / 8; break;
    default: bytes = rows * m->row_bytes;
    }
    if (m->scales != NULL && m->block_cols > 0)
        bytes += rows * cols / m->block_cols / (m->block_rows > 0 ? m->block_rows : 1) * 2;
    else if (m->scales != NULL)
        bytes += rows * m->scale_row_bytes;
    return bytes;
}

static bool four_bits(const Matrix *m) {
    return (m->form == FORM_INT_PACKED || m->form == FORM_GPTQ) && m->bits == 4;
}

int form_offset(const Matrix *m) {
    return four_bits(m) ? 8 : form_info(m->form)->offset;
}

int form_top(const Matrix *m) {
    return four_bits(m) ? 15 : form_info(m->form)->top;
}

static float float_at(Form form, const uint8_t *p, size_t i) {
    uint16_t half;
    float f;
    switch (form) {
    case FORM_F32: case FORM_F32_T: memcpy(&f, p + 4 * i, 4); return f;
    case FORM_F16: case FORM_F16_T: memcpy(&half, p + 2 * i, 2); return float_of_f16(half);
    case FORM_BF16: case FORM_BF16_T: memcpy(&half, p + 2 * i, 2); return float_of_bf16(half);
    default: return float_of_f8e4m3(p[i]);
    }
}

static void decode_float(const Matrix *m, int row, int col, int n, float *out) {
    const Form form = m->form;
    const bool transposed = !form_by_rows(form);
    const size_t place = (size_t)row * (size_t)(m->row_step != 0 ? m->row_step : 1);
    for (int i = 0; i < n; i++) {
        const uint8_t *line = m->data + (size_t)(transposed ? col + i : row) * m->row_bytes;
        out[i] = float_at(form, line, transposed ? place : (size_t)(col + i));
    }
    if (form_infos_float[form].kind != CLASS_SCALED)
        return;
    for (int i = 0; i < n; i++) {
        const int stored_row = (transposed ? col + i : row) + m->scale_row0;
        const int stored_col = (transposed ? row : col + i) + m->scale_col0;
        out[i] *= form_scale_at(m, (size_t)(stored_row / m->block_rows), (size_t)(stored_col / m->block_cols));
    }
}

void form_decode_row(const Matrix *m, int row, int col, int n, float *out) {
    const FormInfo *info = form_info(m->form);
    if (m->form == FORM_GPTQ_ORDER) {
        form_gptq_decode_ordered(m, row, col, n, out);
    } else if (info->kind == CLASS_BLOCK) {
        for (int i = 0; i < n; i += 32) {
            Block32 b;
            info->block(m, row, col + i, &b);
            for (int j = 0; j < 32 && i + j < n; j++)
                out[i + j] = info->has_min ? b.d[j / 16] * (float)b.q[j] + b.m[j / 16] : b.d[j / 16] * (float)b.q[j];
        }
    } else if (info->kind == CLASS_SUPER) {
        for (int done = 0; done < n;) {
            Super256 s;
            const int first = (col + done) % 256;
            info->super(m, row, col + done - first, &s);
            for (int j = first; j < 256 && done < n; j++, done++) {
                const float scaled = s.d * (float)s.sc[j / 16] * (float)s.q[j];
                out[done] = info->has_min ? scaled - s.dm * (float)s.mn[j / 16] : scaled;
            }
        }
    } else {
        decode_float(m, row, col, n, out);
    }
}
