/* cli_print.h - how results leave the program: whole, on standard output, or as an error. */
#ifndef HOULE_CLI_CLI_PRINT_H
#define HOULE_CLI_CLI_PRINT_H

#include "base/text.h"

#include <jansson.h>

/* Writes the text as it is, then empties and frees it (also on failure). ERR_MEMORY when an append had failed: nothing
 * is written then. */
Status cli_print_text(Text *text, Error *err);

/* Writes a JSON value and a line end; `flags` are json_dumps's. Takes the value, also on failure; NULL (a value that could
 * not be made) is ERR_MEMORY. */
Status cli_print_json(json_t *owned, size_t flags, Error *err);

/* A number for JSON: null where it is not finite, as a share of an unknown peak. */
json_t *cli_json_number(double number);

#endif
