/* cli_print.c - see cli_print.h. */
#include "cli/cli_print.h"

#include <math.h>
#include <stdio.h>

Status cli_print_text(Text *text, Error *err) {
    const Status status = text_check(text, err);
    if (status == OK && text->count > 0)
        fwrite(text->bytes, 1, text->count, stdout);
    text_free(text);
    return status;
}

Status cli_print_json(json_t *owned, size_t flags, Error *err) {
    char *text = owned != NULL ? json_dumps(owned, flags) : NULL;
    json_decref(owned);
    FAIL_IF(text == NULL, ERR_MEMORY, "no memory for the result");
    printf("%s\n", text);
    mem_free(text);
    return OK;
}

json_t *cli_json_number(double number) {
    return isfinite(number) ? json_real(number) : json_null();
}
