/* text_api.c - what a model's tokenizer and template do, without running the model: /tokenize, /detokenize,
 * /apply-template. */
#include "serve/api.h"

#include <string.h>

static Status begin(ApiCall *call, Ask *ask, Fields *f, Error *err) {
    TRY(ask_only_model(call, ask, err));
    *f = fields_of(call, call->body);
    (void)field(f, "model");
    return OK;
}

static json_t *piece_value(const Tokenizer *t, int32_t id) {
    const char *bytes = "";
    size_t count = 0;
    tokenizer_piece(t, id, &bytes, &count);
    json_t *text = json_stringn(bytes, count); /* NULL: not UTF-8 by itself */
    if (text == NULL) {
        text = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append_new(text, json_integer((unsigned char)bytes[i]));
    }
    return json_pack("{s:i, s:o}", "id", id, "piece", text);
}

static Status tokenize(ApiCall *call, Ask *ask, Error *err) {
    Fields f;
    const json_t *content, *messages = NULL;
    bool add = false, parse = true, pieces = false, generation = true;
    TRY(begin(call, ask, &f, err));
    content = field(&f, "content") != NULL ? field(&f, "content") : field(&f, "prompt");
    TRY(field_array(&f, "messages", &messages, err));
    TRY(field_bool(&f, "add_special", &add, err));
    TRY(field_bool(&f, "add_special_tokens", &add, err));
    TRY(field_bool(&f, "parse_special", &parse, err));
    TRY(field_bool(&f, "with_pieces", &pieces, err));
    TRY(field_bool(&f, "add_generation_prompt", &generation, err));
    TRY(fields_end(&f, err));
    if (messages != NULL)
        TRY(ask_chat(ask, messages, generation, false, err));
    else if (!json_is_string(content))
        return field_wrong(call, "content", err, "a text is expected");
    else
        TRY(tokenizer_encode(ask->tokenizer, json_string_value(content), json_string_length(content),
                             (add ? ENCODE_ADD_SPECIAL : 0u) | (parse ? ENCODE_PARSE_SPECIAL : 0u), &ask->prompt, err));
    json_t *tokens = json_array();
    for (size_t i = 0; i < ask->prompt.count; i++)
        json_array_append_new(tokens, pieces ? piece_value(ask->tokenizer, ask->prompt.ids[i])
                                             : json_integer(ask->prompt.ids[i]));
    return api_reply_json(call, 200,
                          json_pack("{s:o, s:I, s:i}", "tokens", tokens, "count", (json_int_t)ask->prompt.count,
                                    "max_model_len", served_context(ask->served)),
                          err);
}

static Status detokenize(ApiCall *call, Ask *ask, Error *err) {
    Fields f;
    const json_t *tokens = NULL;
    TRY(begin(call, ask, &f, err));
    TRY(field_array(&f, "tokens", &tokens, err));
    TRY(fields_end(&f, err));
    if (tokens == NULL)
        return field_wrong(call, "tokens", err, "an array of token ids is expected");
    TRY(ask_token_ids(ask, "tokens", tokens, INT32_MAX, &ask->prompt, err));
    TRY(tokenizer_decode(ask->tokenizer, ask->prompt.ids, ask->prompt.count, 0, &ask->text, err));
    const char *text = ask->text.bytes != NULL ? ask->text.bytes : "";
    return api_reply_json(
        call, 200, json_pack("{s:s%, s:s%}", "content", text, ask->text.count, "prompt", text, ask->text.count), err);
}

static Status apply_template(ApiCall *call, Ask *ask, Error *err) {
    Fields f;
    const json_t *messages = NULL, *variables = NULL;
    bool generation = true;
    TRY(begin(call, ask, &f, err));
    TRY(field_array(&f, "messages", &messages, err));
    TRY(ask_tools(ask, &f, err));
    TRY(field_object(&f, "chat_template_kwargs", &variables, err));
    TRY(field_bool(&f, "add_generation_prompt", &generation, err));
    TRY(fields_end(&f, err));
    if (messages == NULL)
        return field_wrong(call, "messages", err, "an array of messages is expected");
    ask->variables = json_incref((json_t *)(uintptr_t)variables);
    TRY(ask_render(ask, messages, generation, false, err));
    return api_reply_json(
        call, 200, json_pack("{s:s%}", "prompt", ask->text.bytes != NULL ? ask->text.bytes : "", ask->text.count), err);
}

static Status with_ask(ApiCall *call, Status (*work)(ApiCall *, Ask *, Error *), Error *err) {
    Ask ask = {0};
    const Status status = work(call, &ask, err);
    ask_free(&ask);
    return status;
}

Status text_tokenize(ApiCall *call, Error *err) {
    return with_ask(call, tokenize, err);
}

Status text_detokenize(ApiCall *call, Error *err) {
    return with_ask(call, detokenize, err);
}

Status text_apply_template(ApiCall *call, Error *err) {
    return with_ask(call, apply_template, err);
}
