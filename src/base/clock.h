/* clock.h - time for measuring. */
#ifndef HOULE_BASE_CLOCK_H
#define HOULE_BASE_CLOCK_H

#include <stdint.h>

/* Microseconds (or nanoseconds) of a clock that never goes back; the zero point means nothing. */
uint64_t clock_us(void);
uint64_t clock_ns(void);

#endif
