/* inspect.c - houle inspect: what is in a model's files, for people (text) and for programs (JSON).
 *
 * Everything printed comes from files of strangers: strings are shown quoted, control characters made visible, and
 * long ones cut unless --full. Each part of the report is a function for text and one for JSON. */
#include "base/file.h"
#include "base/mem.h"
#include "base/progress.h"
#include "base/text.h"
#include "cli/cli_print.h"
#include "cli/run_options.h"
#include "graph/describe.h"
#include "format/gguf_names.h"
#include "format/json_write.h"
#include "format/model_files.h"
#include "format/safetensors_writer.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct {
    bool tensors, json, full, memory, graph, families;
    const char *dump, *precision, *cache;
    int64_t ctx, batch, threads;
    uint64_t budget;
} want = {.precision = "fast", .cache = "f16"};

enum {
    SHOWN_ELEMENTS = 16,   /* of an array in JSON, without --full */
    SHOWN_BYTES = 96,      /* of a value on a line */
    DUMP_PIECE = 64 * 256, /* numbers; a multiple of every block length */
};

/* What the tensors of one type amount to. */
typedef struct TypeTotal {
    size_t tensors, numbers, bytes;
} TypeTotal;

static void add_up(const ModelFiles *files, TypeTotal totals[DT_COUNT], TypeTotal *all) {
    for (size_t i = 0; i < model_files_tensors(files); i++) {
        const Tensor *t = model_files_tensor(files, i);
        TypeTotal *const sums[] = {&totals[t->type], all};
        for (size_t s = 0; s < COUNT(sums); s++) {
            sums[s]->tensors++;
            sums[s]->numbers += tensor_numbers(t);
            sums[s]->bytes += t->bytes;
        }
    }
}

static size_t file_bytes(const ModelFiles *files) {
    size_t bytes = 0;
    for (int i = 0; i < model_files_count(files); i++)
        bytes += model_files_file_bytes(files, i);
    return bytes;
}

static const char *container_word(const ModelFiles *files) {
    return model_files_kind(files) == CONTAINER_GGUF ? "gguf" : "safetensors";
}

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

static void write_meta_number(JsonWriter *w, const MetaValue *value) {
    if (value->type == META_BOOL)
        json_write_bool(w, value->as.integer != 0);
    else if (value->type == META_F32)
        json_write_float(w, (float)value->as.real);
    else if (value->type == META_F64)
        json_write_double(w, value->as.real);
    else if (value->type == META_U64)
        json_write_natural(w, value->as.natural);
    else
        json_write_int(w, value->as.integer);
}

static void write_meta_elements(JsonWriter *w, const MetaValue *array, size_t count) {
    json_write_open(w, '[');
    for (size_t i = 0; i < count; i++) {
        MetaValue element;
        const char *bytes;
        size_t length;
        if (meta_array_string(array, i, &bytes, &length)) {
            json_write_bytes(w, bytes, length);
        } else if (meta_array_element(array, i, &element)) {
            write_meta_number(w, &element);
        }
    }
    json_write_close(w, ']');
}

static void write_meta_value(JsonWriter *w, const MetaValue *value, size_t max_elements) {
    if (value->type == META_STRING)
        json_write_bytes(w, value->as.string.bytes, value->as.string.count);
    else if (value->type == META_ARRAY)
        write_meta_elements(w, value, MIN(value->as.array.count, max_elements));
    else
        write_meta_number(w, value);
}

static void write_metadata(JsonWriter *w, const ModelFiles *files) {
    json_write_key(w, "metadata");
    json_write_open(w, '{');
    for (size_t i = 0; i < model_files_metas(files); i++) {
        const MetaValue *value = model_files_meta(files, i);
        json_write_key(w, value->key);
        json_write_open(w, '{');
        json_write_key(w, "type");
        json_write_string(w, meta_type_name(value->type));
        if (value->type == META_ARRAY) {
            json_write_key(w, "of");
            json_write_string(w, meta_type_name(value->as.array.type));
            json_write_key(w, "count");
            json_write_natural(w, value->as.array.count);
        }
        json_write_key(w, "value");
        write_meta_value(w, value, want.full ? SIZE_MAX : SHOWN_ELEMENTS);
        json_write_close(w, '}');
    }
    json_write_close(w, '}');
}

static void write_files(JsonWriter *w, const ModelFiles *files) {
    json_write_key(w, "files");
    json_write_open(w, '[');
    for (int i = 0; i < model_files_count(files); i++) {
        json_write_open(w, '{');
        json_write_key(w, "path");
        json_write_string(w, model_files_file_path(files, i));
        json_write_key(w, "bytes");
        json_write_natural(w, model_files_file_bytes(files, i));
        json_write_close(w, '}');
    }
    json_write_close(w, ']');
}

static void write_total(JsonWriter *w, const TypeTotal *total) {
    json_write_key(w, "tensors");
    json_write_natural(w, total->tensors);
    json_write_key(w, "parameters");
    json_write_natural(w, total->numbers);
    json_write_key(w, "bytes");
    json_write_natural(w, total->bytes);
}

static void write_totals(JsonWriter *w, const ModelFiles *files) {
    TypeTotal totals[DT_COUNT] = {{0}}, all = {0};
    add_up(files, totals, &all);
    json_write_key(w, "total");
    json_write_open(w, '{');
    write_total(w, &all);
    json_write_close(w, '}');
    json_write_key(w, "types");
    json_write_open(w, '[');
    for (int type = 0; type < DT_COUNT; type++) {
        if (totals[type].tensors == 0)
            continue;
        json_write_open(w, '{');
        json_write_key(w, "type");
        json_write_string(w, dtype_name((DType)type));
        write_total(w, &totals[type]);
        json_write_close(w, '}');
    }
    json_write_close(w, ']');
}

static void write_tensors(JsonWriter *w, const ModelFiles *files) {
    json_write_key(w, "tensors");
    json_write_open(w, '[');
    for (size_t i = 0; i < model_files_tensors(files); i++) {
        const Tensor *t = model_files_tensor(files, i);
        json_write_open(w, '{');
        json_write_key(w, "name");
        json_write_string(w, t->name);
        json_write_key(w, "type");
        json_write_string(w, dtype_name(t->type));
        json_write_key(w, "shape");
        json_write_open(w, '[');
        for (int d = 0; d < t->n_dim; d++)
            json_write_natural(w, t->dims[d]);
        json_write_close(w, ']');
        json_write_key(w, "bytes");
        json_write_natural(w, t->bytes);
        json_write_key(w, "file");
        json_write_int(w, t->file);
        json_write_key(w, "offset");
        json_write_natural(w, t->offset);
        json_write_close(w, '}');
    }
    json_write_close(w, ']');
}

/* Tokens that it knows: logits of all where it writes, rows of a table where it only reads. */
static int vocabulary_of(const Graph *graph) {
    return graph->result == RESULT_LOGITS ? graph->vocab : graph->vocab_rows;
}

/* What the engine makes of it: null where that is no network of a known family, `why_not` then saying why. */
static void write_network(JsonWriter *w, const ModelFiles *files) {
    Model *model = NULL;
    Error why = {0};
    json_write_key(w, "network");
    if (model_describe(files, &model, &why) != OK) {
        json_write_string(w, NULL);
        json_write_key(w, "why_not");
        json_write_string(w, why.text);
        return;
    }
    const Graph *graph = model_graph(model);
    const ParameterCount n = graph_parameters(graph);
    const struct { const char *key; uint64_t value; } numbers[] = {
        {"layers", (uint64_t)graph->n_layer}, {"width", (uint64_t)graph->width}, {"vocabulary", (uint64_t)vocabulary_of(graph)},
        {"parameters", n.total}, {"active_parameters", n.active}, {"kept_parameters", n.kept},
        {"cache_bytes_per_token", graph_cache_bytes_per_token(graph, CACHE_F16)},
        {"memory_bytes_per_sequence", graph_memory_bytes(graph)}, {"context", (uint64_t)MAX(model_context(model), 0)},
    };
    json_write_open(w, '{');
    json_write_key(w, "family");
    json_write_string(w, model_family(model)->name);
    for (size_t i = 0; i < COUNT(numbers); i++) {
        json_write_key(w, numbers[i].key);
        json_write_natural(w, numbers[i].value);
    }
    json_write_key(w, "unread_keys");
    json_write_string(w, model_unread_keys(model));
    json_write_close(w, '}');
    model_close(model);
}

static void write_report(JsonWriter *w, const ModelFiles *files) {
    json_write_open(w, '{');
    json_write_key(w, "path");
    json_write_string(w, model_files_path(files));
    json_write_key(w, "container");
    json_write_string(w, container_word(files));
    json_write_key(w, "version");
    if (model_files_version(files) > 0)
        json_write_int(w, model_files_version(files));
    else
        json_write_string(w, NULL);
    write_files(w, files);
    write_totals(w, files);
    write_metadata(w, files);
    json_write_key(w, "config");
    json_write_value(w, model_files_config(files));
    json_write_key(w, "generation_config");
    json_write_value(w, model_files_generation_config(files));
    write_network(w, files);
    write_tensors(w, files);
    json_write_close(w, '}');
}

static Status print_json(const ModelFiles *files, Error *err) {
    Text out = {0};
    JsonWriter w = {.out = &out};
    write_report(&w, files);
    text_append_char(&out, '\n');
    return cli_print_text(&out, err);
}

/* ---- text ------------------------------------------------------------------------------------------------------ */

/* Appends what strangers wrote, harmless for a terminal; cut to SHOWN_BYTES unless --full. */
static void append_shown(Text *line, const char *bytes, size_t count) {
    if (want.full || count <= SHOWN_BYTES) {
        text_append_printable(line, bytes, count);
    } else {
        text_append_printable(line, bytes, utf8_complete_prefix(bytes, SHOWN_BYTES));
        text_append_str(line, " ...");
    }
}

static Status print_summary(const ModelFiles *files, Error *err) {
    TypeTotal totals[DT_COUNT] = {{0}}, all = {0};
    add_up(files, totals, &all);
    Text out = {0};
    char size[16];
    const int n = model_files_count(files);
    text_append_str(&out, "model       ");
    text_append_printable(&out, model_files_path(files), strlen(model_files_path(files)));
    text_append_format(&out, "\ncontainer   %s", container_word(files));
    if (model_files_version(files) > 0)
        text_append_format(&out, " version %d", model_files_version(files));
    text_append_format(&out, "\nfiles       %d, %s\n", n, format_bytes(file_bytes(files), size));
    text_append_format(&out, "tensors     %zu\nparameters  %zu\n", all.tensors, all.numbers);
    for (int type = 0; type < DT_COUNT; type++) {
        const TypeTotal *t = &totals[type];
        if (t->tensors > 0)
            text_append_format(&out, "  %-9s %6zu %s  %15zu parameters  %10s\n", dtype_name((DType)type), t->tensors,
                               t->tensors == 1 ? "tensor " : "tensors", t->numbers, format_bytes(t->bytes, size));
    }
    return cli_print_text(&out, err);
}

/* "  key = value", the value as JSON. */
static void append_line(Text *out, const char *key, const Text *json) {
    text_append_str(out, "  ");
    text_append_printable(out, key, strlen(key));
    text_append_str(out, " = ");
    append_shown(out, json->bytes, json->count);
    text_append_char(out, '\n');
}

static Status print_metadata(const ModelFiles *files, Error *err) {
    Text out = {0}, json = {0};
    if (model_files_metas(files) > 0)
        text_append_format(&out, "metadata    %zu\n", model_files_metas(files));
    for (size_t i = 0; i < model_files_metas(files); i++) {
        const MetaValue *value = model_files_meta(files, i);
        JsonWriter w = {.out = &json};
        text_clear(&json);
        if (value->type == META_ARRAY)
            text_append_format(&json, "%s[%zu] ", meta_type_name(value->as.array.type), value->as.array.count);
        write_meta_value(&w, value, want.full ? SIZE_MAX : SHOWN_ELEMENTS);
        if (text_check(&json, err) != OK)
            break;
        append_line(&out, value->key, &json);
    }
    Status status = text_check(&json, err);
    if (status == OK)
        status = cli_print_text(&out, err);
    text_free(&json);
    text_free(&out);
    return status;
}

/* The settings of a folder's config.json, one line for each key of the outer object. */
static Status print_config(const char *title, const json_t *config, Error *err) {
    if (config == NULL)
        return OK;
    Text out = {0}, json = {0};
    text_append_format(&out, "%s\n", title);
    json_t *const iterated = (json_t *)(uintptr_t)config; /* jansson's iterators take no const, and change nothing */
    for (void *at = json_object_iter(iterated); at != NULL; at = json_object_iter_next(iterated, at)) {
        JsonWriter w = {.out = &json};
        text_clear(&json);
        json_write_value(&w, json_object_iter_value(at));
        if (text_check(&json, err) != OK)
            break;
        append_line(&out, json_object_iter_key(at), &json);
    }
    Status status = text_check(&json, err);
    if (status == OK)
        status = cli_print_text(&out, err);
    text_free(&json);
    text_free(&out);
    return status;
}

static Status print_tensors(const ModelFiles *files, Error *err) {
    Text out = {0};
    Status status = OK;
    const bool many = model_files_count(files) > 1;
    printf("%-9s %10s  %s%-12s  shape, name\n", "type", "bytes", many ? "file  " : "", "offset");
    for (size_t i = 0; i < model_files_tensors(files) && status == OK; i++) {
        const Tensor *t = model_files_tensor(files, i);
        text_append_format(&out, "%-9s %10zu  ", dtype_name(t->type), t->bytes);
        if (many)
            text_append_format(&out, "%4d  ", t->file);
        text_append_format(&out, "%-12zu  [", t->offset);
        for (int d = 0; d < t->n_dim; d++)
            text_append_format(&out, "%s%zu", d > 0 ? ", " : "", t->dims[d]);
        text_append_str(&out, "] ");
        text_append_printable(&out, t->name, strlen(t->name));
        text_append_char(&out, '\n');
        status = cli_print_text(&out, err);
    }
    return status;
}

static Status print_text(const ModelFiles *files, Error *err) {
    TRY(print_summary(files, err));
    TRY(print_metadata(files, err));
    TRY(print_config("config", model_files_config(files), err));
    TRY(print_config("generation_config", model_files_generation_config(files), err));
    return want.tensors ? print_tensors(files, err) : OK;
}

/* ---- dump ------------------------------------------------------------------------------------------------------ */

static Status dump_tensor(SafetensorsWriter *writer, const ModelFiles *files, const Tensor *t, float *piece,
                          Error *err) {
    const DTypeInfo *info = dtype_info(t->type);
    const size_t numbers = tensor_numbers(t);
    for (size_t done = 0; done < numbers;) { /* rows are whole blocks, so the tensor is one long row */
        const size_t count = MIN(numbers - done, DUMP_PIECE);
        dequantise_row(t->type, t->data + done / info->block_length * info->block_bytes, piece, count);
        TRY(safetensors_writer_write(writer, piece, count * sizeof *piece, err));
        done += count;
    }
    file_map_release(model_files_map(files, t->file), t->offset, t->bytes);
    return model_files_check(files, err); /* zeros read from a file that was cut are no numbers of the model */
}

static Status dump_tensors(SafetensorsWriter *writer, const ModelFiles *files, Error *err) {
    float *piece = mem_array(DUMP_PIECE, sizeof *piece, MEM_SCRATCH);
    FAIL_IF(piece == NULL, ERR_MEMORY, "no memory for a piece of %d numbers", DUMP_PIECE);
    CliProgress bar = {0};
    const Progress progress = {.report = cli_progress, .user = &bar};
    cli_catch_interrupt();
    Status status = OK;
    const size_t count = model_files_tensors(files);
    for (size_t i = 0; i < count && status == OK; i++) {
        if (!progress_report(&progress, "dump", i, count))
            status = error_set(err, ERR_CANCELLED, "interrupted");
        else
            status = dump_tensor(writer, files, model_files_tensor(files, i), piece, err);
    }
    cli_progress_end(&bar);
    mem_free(piece);
    return status;
}

static Status dump(const ModelFiles *files, const char *path, Error *err) {
    const size_t count = model_files_tensors(files);
    SafetensorsEntry *entries = mem_array(MAX(count, 1), sizeof *entries, MEM_FORMAT);
    FAIL_IF(entries == NULL, ERR_MEMORY, "%s: no memory for its header", path);
    for (size_t i = 0; i < count; i++) {
        const Tensor *t = model_files_tensor(files, i);
        entries[i] = (SafetensorsEntry){.name = t->name, .type = DT_F32, .n_dim = t->n_dim, .dims = t->dims};
    }
    SafetensorsWriter *writer;
    Status status = safetensors_writer_open(path, entries, count, NULL, 0, &writer, err);
    mem_free(entries);
    TRY(status);
    status = dump_tensors(writer, files, err);
    if (status != OK) {
        safetensors_writer_cancel(writer);
        return status;
    }
    return safetensors_writer_commit(writer, err);
}

/* ---- the network ------------------------------------------------------------------------------------------------ */

/* 1.24B, 135M, ... */
static const char *in_words(uint64_t number, char buffer[16]) {
    static const char units[] = " KMBT";
    double value = (double)number;
    int unit = 0;
    while (value >= 999.5 && unit < 4) {
        value /= 1000;
        unit++;
    }
    snprintf(buffer, 16, value < 10 && unit > 0 ? "%.2f%c" : value < 100 && unit > 0 ? "%.1f%c" : "%.0f%c", value, units[unit]);
    return buffer;
}

static void print_family(const Model *model) {
    const Family *family = model_family(model);
    const Graph *graph = model_graph(model);
    const ParameterCount n = graph_parameters(graph);
    char total[16], active[16], bytes[16];
    printf("\nfamily        %s (%s)\n", family->name, family->covers);
    printf("layers        %d, width %d, vocabulary %d\n", graph->n_layer, graph->width, vocabulary_of(graph));
    printf("parameters    %" PRIu64 " (%s), %" PRIu64 " (%s) used per token\n", n.total, in_words(n.total, total), n.active,
           in_words(n.active, active));
    if (n.kept > 0)
        printf("kept          %" PRIu64 " parameters of further layers (multi-token prediction)\n", n.kept);
    printf("cache         %s per token (f16)", format_bytes(graph_cache_bytes_per_token(graph, CACHE_F16), bytes));
    if (graph_memory_bytes(graph) > 0)
        printf(", %s per sequence", format_bytes(graph_memory_bytes(graph), bytes));
    printf("\n");
    if (model_context(model) > 0)
        printf("context       %d tokens declared\n", model_context(model));
    if (model_unread_keys(model)[0] != '\0')
        printf("unread keys   %s\n", model_unread_keys(model));
}

/* What of the weights is in memory when they and the rest share a budget. */
static Status print_budget(const Model *model, const MemoryPlan *plan, Error *err) {
    StreamPlan s;
    char a[16], b[16], c[16], d[16];
    const uint64_t others = (uint64_t)plan->cache + plan->scratch + weights_copied_bytes(model_weights(model));
    const uint64_t left = want.budget - MIN(want.budget, others);
    TRY(weights_stream_plan(model_weights(model), (size_t)left, &s, err));
    printf("\nwithin %s\n", format_bytes(want.budget, a));
    if (s.whole <= left) {
        printf("weights       all of them fit\n");
        return OK;
    }
    printf("stays         %s of weights that every token uses\n", format_bytes(s.resident, a));
    if (s.tables > 0)
        printf("read by rows  %s of tables\n", format_bytes(s.tables, a));
    if (left < s.least)
        printf("experts       do not fit: %s are needed at the least\n", format_bytes(others + s.least, b));
    else if (s.experts > 0)
        printf("experts       %s of %s are kept in memory (%.0f%%), the others read when they are chosen\n",
               format_bytes(s.cached, b), format_bytes(s.experts, c), 100.0 * (double)s.cached / (double)s.experts);
    printf("in all        %s\n", format_bytes(others + (left < s.least ? s.least : s.resident + s.cache), d));
    return OK;
}

static Status print_memory(const ModelFiles *files, Error *err) {
    Model *model;
    TRY(want.budget > 0 ? model_bind(files, &model, err) : model_describe(files, &model, err));
    SessionSpec spec = {.context = (int)(want.ctx > 0 ? want.ctx : MIN(MAX(model_context(model), 1), 8192)),
                        .sequences = (int)MAX(want.batch, 1)};
    Pool *pool;
    MemoryPlan plan;
    Status status = cli_pool((int)want.threads, &pool, err);
    spec.pool = pool;
    if (status == OK)
        status = parse_precision(want.precision, &spec.precision, err);
    if (status == OK)
        status = parse_cache_type(want.cache, &spec.cache_type, err);
    if (status == OK)
        status = session_memory(model, spec, &plan, err);
    if (status == OK) {
        char a[16], b[16], c[16], d[16];
        const size_t weights = file_bytes(files);
        printf("weights       %s (mapped from the file%s)\n", format_bytes(weights, a), model_files_count(files) > 1 ? "s" : "");
        printf("cache         %s for %d tokens%s, --cache-type %s\n", format_bytes(plan.cache, b), spec.context,
               spec.sequences > 1 ? " in each sequence" : "", spec.precision == PRECISION_F32 ? "f32" : want.cache);
        printf("scratch       %s\n", format_bytes(plan.scratch, c));
        printf("in all        %s\n", format_bytes(weights + plan.cache + plan.scratch, d));
    }
    if (status == OK && want.budget > 0)
        status = print_budget(model, &plan, err);
    model_close(model);
    return status;
}

static Status print_network(const ModelFiles *files, Error *err) {
    Model *model;
    Text text = {0};
    TRY(model_describe(files, &model, err));
    Status status = graph_print(model_graph(model), &text, err);
    if (status == OK)
        status = cli_print_text(&text, err);
    text_free(&text);
    model_close(model);
    return status;
}

static Status print_families_json(Error *err) {
    Text out = {0};
    JsonWriter w = {.out = &out};
    json_write_open(&w, '{');
    json_write_key(&w, "families");
    json_write_open(&w, '[');
    for (int i = 0; family_at(i) != NULL; i++) {
        const Family *f = family_at(i);
        const struct { const char *key, *value; } entries[] = {
            {"family", f->name}, {"models", f->covers}, {"since", f->since}, {"golden", f->golden},
            {"gguf", gguf_architecture_of(f->name)}, {"replies", f->reply_format},
        };
        json_write_open(&w, '{');
        for (size_t k = 0; k < COUNT(entries); k++) {
            json_write_key(&w, entries[k].key);
            json_write_string(&w, entries[k].value);
        }
        json_write_close(&w, '}');
    }
    json_write_close(&w, ']');
    json_write_close(&w, '}');
    text_append_char(&out, '\n');
    return cli_print_text(&out, err);
}

static Status print_families(Error *err) {
    if (want.json)
        return print_families_json(err);
    printf("%-20s %-6s %-19s %-18s %s\n", "family", "since", "gguf architecture", "proof (golden)", "models");
    for (int i = 0; family_at(i) != NULL; i++) {
        const Family *f = family_at(i);
        const char *gguf = gguf_architecture_of(f->name);
        printf("%-20s %-6s %-19s %-18s %s\n", f->name, f->since, gguf != NULL ? gguf : "-", f->golden, f->covers);
    }
    printf("\nfamily: model_type of config.json, beside *.safetensors as published. GGUF files of an architecture in the\n"
           "third column run too. The proof of a family is the folder of reference logits that its description gives.\n");
    return OK;
}

/* ---- the command ----------------------------------------------------------------------------------------------- */

/* A file of a kind that cannot run is still a good file: said, but no failure. */
static Status report(const ModelFiles *files, Error *err) {
    Model *model = NULL;
    Error why = {0};
    if (want.json)
        return print_json(files, err);
    TRY(print_text(files, err));
    if (model_describe(files, &model, &why) == OK)
        print_family(model);
    else
        printf("\ncannot run    %s\n", why.text);
    model_close(model);
    return OK;
}

static int run(int n_argument, char **arguments, Error *err) {
    if (want.families)
        return print_families(err) == OK ? 0 : 1;
    if (n_argument == 0) {
        error_set(err, ERR_ARGUMENT, "usage: houle inspect MODEL");
        return 2;
    }
    ModelFiles *files;
    if (cli_open_files(arguments[0], &files, err) != OK)
        return 1;
    Status status = OK;
    if (want.dump != NULL)
        status = dump(files, want.dump, err);
    else if (want.memory || want.budget > 0)
        status = print_memory(files, err);
    else if (want.graph)
        status = print_network(files, err);
    if (status == OK && ((want.dump == NULL && !want.memory && want.budget == 0 && !want.graph) || want.json || want.tensors))
        status = report(files, err);
    model_files_close(files);
    return status == OK ? 0 : 1;
}

static const Option options[] = {
    {"tensors", OPT_FLAG, &want.tensors, NULL, "also list the tensors: type, bytes, offset, shape, name", NULL},
    {"full", OPT_FLAG, &want.full, NULL, "do not cut long values of metadata", NULL},
    {"json", OPT_FLAG, &want.json, NULL, "print everything as one JSON object (docs/json-schema.md)", NULL},
    {"dump", OPT_STRING, &want.dump, "FILE", "write all tensors as float32 to a safetensors file; prints nothing",
     NULL},
    {"memory", OPT_FLAG, &want.memory, NULL, "print what running it takes: weights, cache, scratch", NULL},
    {"memory-budget", OPT_BYTES, &want.budget, "SIZE", "the same, and what stays in memory when there is no more than this", NULL},
    {"ctx", OPT_INT, &want.ctx, "N", "for --memory: tokens of context (the declared one, at most 8192)", NULL},
    {"batch", OPT_INT, &want.batch, "N", "for --memory: sequences at once (1)", NULL},
    {"cache-type", OPT_STRING, &want.cache, "TYPE", "for --memory: f16 (default), q8_0, f32", NULL},
    {"precision", OPT_STRING, &want.precision, "f32|fast", "for --memory (fast)", NULL},
    {"threads", OPT_INT, &want.threads, "N", "for --memory: threads", NULL},
    {"graph", OPT_FLAG, &want.graph, NULL, "print the network as the engine sees it, an operation a line", NULL},
    {"families", OPT_FLAG, &want.families, NULL, "list the families that run, with the models they cover (no MODEL)", NULL},
    {0},
};

const Command command_inspect = {
    .name = "inspect",
    .arguments = "MODEL | --families",
    .summary = "show what is in a model's files",
    .text = "MODEL is a GGUF file, a safetensors file or a folder from Hugging Face. The files are checked as for\n"
            "running, but only headers are read, and the model need not be of a known family. Exit status 1 and a\n"
            "message with the file's name when it is damaged.\n\n"
            "Parameters are all numbers in all tensors, scales and tables included.",
    .example = "  houle inspect model.gguf --tensors\n"
               "  houle inspect model.gguf --json | jq .types\n"
               "  houle inspect model.gguf --dump float32.safetensors",
    .options = options,
    .min_arguments = 0,
    .max_arguments = 1,
    .run = run,
};
