/* openai_models.c - GET /v1/models and /v1/models/NAME: what can be asked for. */
#include "serve/api.h"

#include <string.h>

/* What its files say, under the names that clients of other servers look for. */
static void add_facts(json_t *value, json_t *meta, const ServedInfo *m, const ModelFacts *facts) {
    const struct {
        const char *key;
        int64_t number;
    } numbers[] = {{"n_params", (int64_t)facts->parameters}, {"n_ctx_train", facts->context}, {"n_embd", facts->width}};
    const struct {
        const char *key, *word;
    } words[] = {{"architecture", facts->family}, {"quantization", facts->quantisation}, {"format", facts->format}};
    const int64_t context = m->context > 0 ? m->context : MIN(facts->context, USUAL_CONTEXT);
    if (context > 0)
        json_object_set_new(value, "context_length", json_integer(context));
    json_object_set_new(value, "capabilities", facts_capabilities(facts));
    for (size_t i = 0; i < COUNT(numbers); i++)
        if (numbers[i].number > 0)
            json_object_set_new(meta, numbers[i].key, json_integer(numbers[i].number));
    for (size_t i = 0; i < COUNT(words); i++)
        if (words[i].word[0] != '\0')
            json_object_set_new(meta, words[i].key, json_string(words[i].word));
}

/* In the words of OpenAI's clients, and beside these (type, display_name, created_at) in those of Anthropic's. */
static json_t *model_value(const ApiCall *call, const ServedInfo *m) {
    const double token_seconds = metrics_token_seconds(call->server->metrics, m->name);
    ModelFacts facts;
    char time[32];
    static const char *const states[] = {[SERVED_ABSENT] = "unloaded",
                                         [SERVED_LOADING] = "loading",
                                         [SERVED_READY] = "loaded",
                                         [SERVED_LEAVING] = "unloading",
                                         [SERVED_BROKEN] = "failed"};
    iso_time(m->modified, time);
    json_t *value = json_pack("{s:s, s:s, s:I, s:s, s:{s:s}, s:s, s:s, s:s}", "id", m->name, "object", "model", "created",
                              (json_int_t)m->modified, "owned_by", "houle", "status", "value", states[m->state], "type",
                              "model", "display_name", m->name, "created_at", time);
    json_t *meta = json_object();
    if (facts_of(call->server->facts, m->path, m->modified, m->file_bytes, &facts))
        add_facts(value, meta, m, &facts);
    else if (m->context > 0)
        json_object_set_new(value, "context_length", json_integer(m->context));
    if (m->file_bytes > 0) {
        json_object_set_new(meta, "size", json_integer((json_int_t)m->file_bytes));
        json_object_set_new(meta, "memory_bytes", json_integer((json_int_t)(m->weight_bytes + m->run_bytes)));
    }
    if (m->licence != NULL && utf8_valid(m->licence, strlen(m->licence)))
        json_object_set_new(meta, "licence", json_string(m->licence));
    if (token_seconds > 0)
        json_object_set_new(meta, "tokens_per_second", json_real(1 / token_seconds));
    json_object_set_new(meta, "pinned", json_boolean(m->pinned));
    json_object_set_new(value, "meta", meta);
    if (m->state == SERVED_BROKEN && utf8_valid(m->error, strlen(m->error)))
        json_object_set_new(value, "error", json_string(m->error));
    return value;
}

/* All models share it: what there is for them, and what they take now. */
static json_t *memory_value(Registry *registry) {
    const RegistryStats s = registry_stats(registry);
    return json_pack("{s:I, s:I}", "budget_bytes", (json_int_t)s.budget_bytes, "used_bytes", (json_int_t)s.used_bytes);
}

Status openai_models(ApiCall *call, Error *err) {
    ServedList list;
    char *known = NULL, *path = NULL;
    if (call->rest[0] != '\0') {
        const Status found = registry_name(call->server->registry, call->rest, &known, &path, err);
        mem_free(path);
        if (found == ERR_NOT_FOUND)
            call->code = "model_not_found";
        TRY(found);
    }
    Status status = registry_list(call->server->registry, &list, err);
    json_t *data = json_array(), *one = NULL;
    for (size_t i = 0; status == OK && i < list.count; i++) {
        const ServedInfo *m = &list.items[i];
        if (!keys_allow(call->server->keys, &call->caller, m->name))
            continue;
        if (known != NULL && strcmp(known, m->name) == 0)
            one = model_value(call, m);
        else if (known == NULL)
            json_array_append_new(data, model_value(call, m));
    }
    if (status == OK)
        served_list_free(&list);
    if (status == OK && known != NULL) {
        json_decref(data);
        if (one == NULL) {
            call->code = "model_not_found";
            status = error_set(err, ERR_NOT_FOUND, "this key may not use the model");
        } else
            status = api_reply_json(call, 200, one, err);
    } else if (status == OK) {
        const json_t *first = json_object_get(json_array_get(data, 0), "id"),
                     *last = json_object_get(json_array_get(data, json_array_size(data) - 1), "id");
        status = api_reply_json(call, 200, /* some coding assistants read "models" */
                                json_pack("{s:s, s:o, s:O, s:o, s:b, s:O?, s:O?}", "object", "list", "data", data,
                                          "models", data, "memory", memory_value(call->server->registry), "has_more", 0,
                                          "first_id", first, "last_id", last),
                                err);
    } else
        json_decref(data);
    mem_free(known);
    return status;
}
