/* openai_models.c - GET /v1/models and /v1/models/NAME: what can be asked for. */
#include "serve/api.h"

#include <string.h>

static json_t *model_value(const ServedInfo *m) {
    static const char *const states[] = {[SERVED_ABSENT] = "unloaded",
                                         [SERVED_LOADING] = "loading",
                                         [SERVED_READY] = "loaded",
                                         [SERVED_LEAVING] = "unloading",
                                         [SERVED_BROKEN] = "failed"};
    json_t *value = json_pack("{s:s, s:s, s:I, s:s, s:{s:s}}", "id", m->name, "object", "model", "created",
                              (json_int_t)m->modified, "owned_by", "houle", "status", "value", states[m->state]);
    if (m->context > 0)
        json_object_set_new(value, "context_length", json_integer(m->context));
    if (m->file_bytes > 0)
        json_object_set_new(value, "meta",
                            json_pack("{s:I, s:I}", "size", (json_int_t)m->file_bytes, "memory_bytes",
                                      (json_int_t)(m->weight_bytes + m->run_bytes)));
    if (m->state == SERVED_BROKEN && utf8_valid(m->error, strlen(m->error)))
        json_object_set_new(value, "error", json_string(m->error));
    return value;
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
            one = model_value(m);
        else if (known == NULL)
            json_array_append_new(data, model_value(m));
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
        status = api_reply_json(call, 200, json_pack("{s:s, s:o, s:O}", "object", "list", "data", data, "models", data),
                                err);
    else
        json_decref(data);
    mem_free(known);
    return status;
}
