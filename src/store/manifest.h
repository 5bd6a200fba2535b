/* manifest.h - houle.json: what the store knows of a model, beside the model's files.
 *
 * It makes a folder that was copied to another machine (or to a stick) a package: 'houle pull FOLDER' finds the name,
 * the publisher, the licence and the checksums again. It is read like anything from outside. */
#ifndef HOULE_STORE_MANIFEST_H
#define HOULE_STORE_MANIFEST_H

#include "base/text.h"
#include "store/store_model.h"

#define MANIFEST_NAME "houle.json"

/* As JSON text. */
Status manifest_write(const StoreModel *model, Text *text, Error *err);
/* Reads FOLDER/houle.json into `model` (strings in the arena; root, state and id are left alone). *found is false, and
 * nothing an error, when there is none. */
Status manifest_read(const char *folder, Arena *arena, StoreModel *model, bool *found, Error *err);

#endif
