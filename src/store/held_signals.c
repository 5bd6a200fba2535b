/* held_signals.c - see held_signals.h. */
#include "store/held_signals.h"

#include "base/compiler.h"

#include <pthread.h>
#include <stddef.h>
#include <time.h>

void hold_signals(HeldSignals *s) {
    sigemptyset(&s->held);
    sigaddset(&s->held, SIGPIPE);
    sigaddset(&s->held, SIGXFSZ);
    pthread_sigmask(SIG_BLOCK, &s->held, &s->before);
}

void release_signals(const HeldSignals *s) {
    sigset_t ours;
    sigemptyset(&ours);
    static const int numbers[] = {SIGPIPE, SIGXFSZ};
    for (size_t i = 0; i < COUNT(numbers); i++)
        if (sigismember(&s->before, numbers[i]) == 0)
            sigaddset(&ours, numbers[i]);
    while (sigtimedwait(&ours, NULL, &(struct timespec){0}) > 0) /* those that came are done with */
        ;
    pthread_sigmask(SIG_SETMASK, &s->before, NULL);
}
