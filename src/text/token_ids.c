/* token_ids.c - see token_ids.h. */
#include "text/token_ids.h"

bool token_ids_append(TokenIds *list, int32_t id) {
    if (!mem_grow((void **)&list->ids, &list->capacity, list->count + 1, sizeof *list->ids, MEM_TEXT))
        return false;
    list->ids[list->count++] = id;
    return true;
}

void token_ids_free(TokenIds *list) {
    mem_free(list->ids);
    *list = (TokenIds){0};
}
