/* openai_models.c - GET /v1/models and /v1/models/NAME: what can be asked for. */
#include "serve/api.h"

#include <string.h>

static json_t *model_value(const ServedInfo *m, double token_seconds) {
    static const char *const states[] = {[SERVED_ABSENT] = "unloaded",
                                         [SERVED_LOADING] = "loading",
                                         [SERVED_READY] = "loaded",
                                         [SERVED_LEAVING] = "unloading",
                                         [SERVED_BROKEN] = "failed"};
    json_t *value = json_pack("{s:s, s:s, s:I, s:s, s:{s:s}}", "id", m->name, "object", "model", "created",
                              (json_int_t)m->modified, "owned_by", "houle", "status", "value", states[m->state]);
    if (m->context > 0)
        json_object_set_new(value, "context_length", json_integer(m->context));
    json_t *meta = json_object();
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
        const double token_seconds = metrics_token_seconds(call->server->metrics, m->name);
        if (!keys_allow(call->server->keys, &call->caller, m->name))
            continue;
        if (known != NULL && strcmp(known, m->name) == 0)
            one = model_value(m, token_seconds);
        else if (known == NULL)
            json_array_append_new(data, model_value(m, token_seconds));
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
    } else if (status == OK) /* some coding assistants read "models" */
        status = api_reply_json(call, 200,
                                json_pack("{s:s, s:o, s:O, s:o}", "object", "list", "data", data, "models", data,
                                          "memory", memory_value(call->server->registry)),
                                err);
    else
        json_decref(data);
    mem_free(known);
    return status;
}
