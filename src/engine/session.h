/* session.h - running a model for one user at a time: one program, one cache, one or a few sequences.
 *
 * A session is used from one thread. Its steps run on a pool that may be shared. */
#ifndef HOULE_ENGINE_SESSION_H
#define HOULE_ENGINE_SESSION_H

#include "base/progress.h"
#include "engine/model.h"
#include "graph/program.h"

typedef struct Session Session;

typedef struct SessionSpec {
    Precision precision;
    const Kernels *kernels; /* NULL = the best of this machine */
    CacheType cache_type;   /* used for PRECISION_FAST; PRECISION_F32 always keeps floats */
    int context;            /* tokens per sequence */
    int sequences;          /* 0 = 1 */
    int max_rows;           /* tokens in one step; 0 = 512 */
    int max_wanted;         /* rows of logits in one step; 0 = sequences */
    bool keep_hidden, profile; /* as in ProgramSpec */
    Pool *pool;
} SessionSpec;

/* What a session of this kind takes, without opening it. */
typedef struct MemoryPlan { size_t weights_mapped, weights_copied, cache, scratch; } MemoryPlan;
Status session_memory(const Model *model, SessionSpec spec, MemoryPlan *plan, Error *err);

/* Makes the model fit into `memory` bytes together with everything else in this process and with such a session: when it
 * does not as a whole, its experts are streamed (weights_stream). Before the model's first session. ERR_MEMORY tells what
 * is needed at the least, in KiB as the option takes it. */
Status session_fit(Model *model, SessionSpec spec, uint64_t memory, Error *err);

Status session_open(const Model *model, SessionSpec spec, Session **session, Error *err);
void session_close(Session *session);
const Model *session_model(const Session *session);
const Program *session_program(const Session *session);
void session_clear_profile(Session *session); /* program_clear_profile */

int session_max_wanted(const Session *session); /* rows of logits in one step */

/* Sequence 0 exists from the beginning. */
Sequence *session_sequence(Session *session, int index);
Status session_add_sequence(Session *session, Error *err);

/* Appends tokens to a sequence, in steps of at most `chunk` (0 = max_rows); the logits of the last token are wanted
 * (session_logits). Progress in tokens. On ERR_CANCELLED the tokens of finished steps are kept, except in
 * models with recurrent layers: there the sequence is empty afterwards. */
Status session_feed(Session *session, int sequence, const int32_t *tokens, int n, int chunk, const Progress *progress,
                    Error *err);
/* Logits [V] of the last token fed; valid until the next feed or step. */
const float *session_logits(const Session *session);

/* One step of a caller's own making; sequences are reserved and advanced here. */
Status session_step(Session *session, const Batch *batch, Error *err);

#endif
