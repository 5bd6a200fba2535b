/* ask.c - asks a model one question with the library and prints the answer while it is made.
 *
 *     cc ask.c $(pkg-config --cflags --libs houle) -o ask && ./ask model.gguf "What is a tide?" */
#include <houle.h>

#include <stdio.h>
#include <string.h>

static int print_piece(void *user, houle_piece kind, const char *text, size_t bytes) {
    (void)user;
    if (kind == HOULE_CONTENT)
        fwrite(text, 1, bytes, stdout);
    return fflush(stdout) != 0;
}

/* The question as a JSON string: quotes and control characters escaped. */
static void conversation(const char *question, char *json, size_t capacity) {
    size_t at = (size_t)snprintf(json, capacity, "[{\"role\": \"user\", \"content\": \"");
    for (; *question != '\0' && at + 12 < capacity; question++)
        if (*question == '"' || *question == '\\' || (unsigned char)*question < 0x20)
            at += (size_t)snprintf(json + at, capacity - at, "\\u%04x", (unsigned)(unsigned char)*question);
        else
            json[at++] = *question;
    snprintf(json + at, capacity - at, "\"}]");
}

int main(int argc, char **argv) {
    houle_error error = {0};
    houle_model *model = NULL;
    houle_session *session = NULL;
    char messages[8192];
    if (argc != 3) {
        fprintf(stderr, "usage: ask MODEL QUESTION\n");
        return 2;
    }
    conversation(argv[2], messages, sizeof messages);
    houle_status status = houle_model_open(argv[1], &model, &error);
    if (status == HOULE_OK)
        status = houle_session_open(model, NULL, &session, &error);
    if (status == HOULE_OK) {
        houle_sampling sampling = houle_sampling_defaults(model);
        sampling.max_tokens = 200;
        status = houle_session_chat(session, messages, NULL, &sampling, print_piece, NULL, &error);
        printf("\n");
    }
    if (status != HOULE_OK)
        fprintf(stderr, "ask: %s\n", error.text);
    houle_session_close(session);
    houle_model_close(model);
    return status == HOULE_OK ? 0 : 1;
}
