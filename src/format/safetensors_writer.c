/* safetensors_writer.c - see safetensors_writer.h. */
#include "format/safetensors_writer.h"

#include "base/bytes.h"
#include "base/file_writer.h"
#include "base/map.h"
#include "format/json_write.h"

#include <string.h>

struct SafetensorsWriter {
    FileWriter *file;
    size_t left; /* bytes of data still to come */
};

static Status entry_bytes(const char *path, const SafetensorsEntry *entry, size_t *bytes, Error *err) {
    const DTypeInfo *info = dtype_info(entry->type);
    FAIL_IF(info->safetensors == NULL, ERR_ARGUMENT, "%s: tensor %s: safetensors has no type %s", path, entry->name,
            info->name);
    size_t numbers = 1;
    bool fits = true, empty = false;
    for (int i = 0; i < entry->n_dim; i++) {
        empty = empty || entry->dims[i] == 0;
        fits = fits && size_mul(numbers, entry->dims[i], &numbers);
    }
    *bytes = 0;
    if (empty)
        return OK;
    fits =
        fits && numbers % info->block_length == 0 && size_mul(numbers / info->block_length, info->block_bytes, bytes);
    FAIL_IF(!fits, ERR_ARGUMENT, "%s: tensor %s: a shape that cannot be stored as %s", path, entry->name, info->name);
    return OK;
}

static void write_entry(JsonWriter *json, const SafetensorsEntry *entry, size_t begin, size_t end) {
    json_write_key(json, entry->name);
    json_write_open(json, '{');
    json_write_key(json, "dtype");
    json_write_string(json, dtype_info(entry->type)->safetensors);
    json_write_key(json, "shape");
    json_write_open(json, '[');
    for (int i = 0; i < entry->n_dim; i++)
        json_write_natural(json, entry->dims[i]);
    json_write_close(json, ']');
    json_write_key(json, "data_offsets");
    json_write_open(json, '[');
    json_write_natural(json, begin);
    json_write_natural(json, end);
    json_write_close(json, ']');
    json_write_close(json, '}');
}

static Status write_entries(JsonWriter *json, const char *path, const SafetensorsEntry *entries, size_t n_entry,
                            Map *names, size_t *data_bytes, Error *err) {
    size_t at = 0;
    for (size_t i = 0; i < n_entry; i++) {
        const SafetensorsEntry *entry = &entries[i];
        const size_t length = strlen(entry->name), number_bytes = dtype_info(entry->type)->block_bytes;
        size_t bytes, end;
        TRY(entry_bytes(path, entry, &bytes, err));
        FAIL_IF(bytes > 0 && at % number_bytes != 0, ERR_ARGUMENT,
                "%s: tensor %s would not be aligned: declare tensors of wider numbers first", path, entry->name);
        FAIL_IF(!size_add(at, bytes, &end), ERR_ARGUMENT, "%s: more bytes than fit into a file", path);
        FAIL_IF(map_find(names, entry->name, length) != NULL, ERR_ARGUMENT, "%s: tensor %s is declared twice", path,
                entry->name);
        FAIL_IF(!map_put(names, entry->name, length, 0), ERR_MEMORY, "%s: no memory for its header", path);
        write_entry(json, entry, at, end);
        at = end;
    }
    *data_bytes = at;
    return OK;
}

static Status make_header(Text *header, const char *path, const SafetensorsEntry *entries, size_t n_entry,
                          const SafetensorsText *texts, size_t n_text, size_t *data_bytes, Error *err) {
    JsonWriter json = {.out = header};
    Map names = {0};
    text_append(header, "\0\0\0\0\0\0\0\0", 8); /* the length comes when it is known */
    json_write_open(&json, '{');
    if (n_text > 0) {
        json_write_key(&json, "__metadata__");
        json_write_open(&json, '{');
        for (size_t i = 0; i < n_text; i++) {
            json_write_key(&json, texts[i].key);
            json_write_string(&json, texts[i].value);
        }
        json_write_close(&json, '}');
    }
    const Status status = write_entries(&json, path, entries, n_entry, &names, data_bytes, err);
    map_free(&names);
    TRY(status);
    json_write_close(&json, '}');
    while (header->count % 8 != 0 && !header->failed) /* the data is to be aligned */
        text_append_char(header, ' ');
    FAIL_IF(header->failed, ERR_MEMORY, "%s: no memory for its header", path);
    store_u64(header->bytes, header->count - 8);
    return OK;
}

static Status start_file(const char *path, const Text *header, size_t data_bytes, SafetensorsWriter **out, Error *err) {
    SafetensorsWriter *writer = mem_zalloc(sizeof *writer, MEM_FORMAT);
    FAIL_IF(writer == NULL, ERR_MEMORY, "%s: no memory to write it", path);
    writer->left = data_bytes;
    Status status = file_writer_open(path, &writer->file, err);
    if (status == OK)
        status = file_writer_write(writer->file, header->bytes, header->count, err);
    if (status != OK) {
        safetensors_writer_cancel(writer);
        return status;
    }
    *out = writer;
    return OK;
}

Status safetensors_writer_open(const char *path, const SafetensorsEntry *entries, size_t n_entry,
                               const SafetensorsText *texts, size_t n_text, SafetensorsWriter **writer, Error *err) {
    *writer = NULL;
    Text header = {0};
    size_t data_bytes = 0;
    Status status = make_header(&header, path, entries, n_entry, texts, n_text, &data_bytes, err);
    if (status == OK)
        status = start_file(path, &header, data_bytes, writer, err);
    text_free(&header);
    return status;
}

Status safetensors_writer_write(SafetensorsWriter *writer, const void *bytes, size_t count, Error *err) {
    FAIL_IF(count > writer->left, ERR_ARGUMENT, "%zu bytes more than the declared tensors have", count - writer->left);
    TRY(file_writer_write(writer->file, bytes, count, err));
    writer->left -= count;
    return OK;
}

Status safetensors_writer_commit(SafetensorsWriter *writer, Error *err) {
    if (writer->left > 0) {
        const size_t left = writer->left;
        safetensors_writer_cancel(writer);
        return error_set(err, ERR_ARGUMENT, "%zu bytes of the declared tensors were not written", left);
    }
    const Status status = file_writer_commit(writer->file, err);
    mem_free(writer);
    return status;
}

void safetensors_writer_cancel(SafetensorsWriter *writer) {
    if (writer == NULL)
        return;
    file_writer_cancel(writer->file);
    mem_free(writer);
}
