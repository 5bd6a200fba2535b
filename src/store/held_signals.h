/* held_signals.h - writing to a closed connection or beyond a file's limit raises signals whose default is to end the
 * process. For the time that the network is used they are held back in this thread and those it starts; the calls return
 * errors instead. */
#ifndef HOULE_STORE_HELD_SIGNALS_H
#define HOULE_STORE_HELD_SIGNALS_H

#include <signal.h>

typedef struct HeldSignals {
    sigset_t held, before;
} HeldSignals;

void hold_signals(HeldSignals *signals);
void release_signals(const HeldSignals *signals);

#endif
