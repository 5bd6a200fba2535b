/* clock.h - time for measuring. */
#ifndef HOULE_BASE_CLOCK_H
#define HOULE_BASE_CLOCK_H

#include <pthread.h>
#include <stdint.h>

/* Microseconds (or nanoseconds) of a clock that never goes back; the zero point means nothing. */
uint64_t clock_us(void);
uint64_t clock_ns(void);
/* Makes a condition whose timed waits go by this clock (CLOCK_MONOTONIC), whatever is done to the time of day. */
void clock_condition(pthread_cond_t *condition);

#endif
