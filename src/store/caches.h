/* caches.h - models that other programs have put on this machine: found, listed and used where they lie.
 *
 *     Hugging Face hub   $HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub
 *                        models--OWNER--NAME/{refs/main, snapshots/COMMIT/FILE -> ../../blobs/DIGEST}
 *     LM Studio          ~/.lmstudio/models, ~/.cache/lm-studio/models      PUBLISHER/NAME/FILE
 *     Ollama             $OLLAMA_MODELS, ~/.ollama/models, the service's folder
 *                        {manifests-v2,manifests}/HOST/NAMESPACE/NAME/TAG (JSON), blobs/sha256-DIGEST
 *
 * Nothing in them is ever changed. What is incomplete, unreadable or strange is passed over. */
#ifndef HOULE_STORE_CACHES_H
#define HOULE_STORE_CACHES_H

#include "store/model_name.h"
#include "store/store_model.h"

/* Appends what is found to the list. Fails for want of memory only. */
Status caches_scan(StoreList *list, Error *err);

/* The path of Ollama's blob with this SHA-256 and size, in a fresh string (mem_free); NULL when there is none. */
char *caches_find_blob(const char *sha256, uint64_t bytes);

#endif
