/* family_table.c - every family, one row each: the name in config.json, and its description. */
#include "family/family.h"

#include <string.h>

#define FAMILY(name) extern const Family family_##name;
#include "family/families.inc"
#undef FAMILY

#define FAMILY(name) &family_##name,
static const Family *const families[] = {
#include "family/families.inc"
    NULL,
};
#undef FAMILY

static const Family *by_name(const char *name) {
    for (int i = 0; families[i] != NULL; i++)
        if (strcmp(families[i]->name, name) == 0)
            return families[i];
    return NULL;
}

const Family *family_find(const char *model_type, const char *outer_type) {
    const Family *family = by_name(model_type);
    return family != NULL ? family : by_name(outer_type);
}

const Family *family_at(int index) {
    return families[index];
}
