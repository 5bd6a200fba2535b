/* compiler.h - the only place for compiler extensions.
 *
 * Everything else in the tree is plain C11. Each macro here falls back to nothing (or to plain C) on a compiler
 * that lacks the extension, so that it never changes what the code means. */
#ifndef HOULE_BASE_COMPILER_H
#define HOULE_BASE_COMPILER_H

#if defined(__GNUC__) || defined(__clang__)
#define PRINTF_LIKE(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#define UNUSED __attribute__((unused))
#define NOINLINE __attribute__((noinline))
#define ALWAYS_INLINE inline __attribute__((always_inline))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
#define PREFETCH(p) __builtin_prefetch((p), 0, 3)
#define PREFETCH_WRITE(p) __builtin_prefetch((p), 1, 3)
#define MUST_CHECK __attribute__((warn_unused_result))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#define NO_UNROLL _Pragma("clang loop unroll(disable)")
#else
#define UNROLL _Pragma("GCC unroll 64")
#define NO_UNROLL _Pragma("GCC unroll 1")
#endif
#else
#define PRINTF_LIKE(format_at, args_at)
#define UNUSED
#define NOINLINE
#define ALWAYS_INLINE inline
#define LIKELY(x) (x)
#define UNLIKELY(x) (x)
#define PREFETCH(p) ((void)(p))
#define PREFETCH_WRITE(p) ((void)(p))
#define MUST_CHECK
#define UNROLL
#define NO_UNROLL
#endif

/* Number of elements of an array (not of a pointer). */
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* The smaller and the larger of two numbers, in the type that a sum of them would have. The arguments are evaluated
 * once, as a function's are. */
#define MIN(a, b) CHOICE(lesser, a, b)
#define MAX(a, b) CHOICE(greater, a, b)

#define DEFINE_CHOICE(type, word)                                                                                     \
    static inline type lesser_##word(type a, type b) { return a < b ? a : b; }                                        \
    static inline type greater_##word(type a, type b) { return a > b ? a : b; }
DEFINE_CHOICE(int, int)
DEFINE_CHOICE(unsigned, unsigned)
DEFINE_CHOICE(long, long)
DEFINE_CHOICE(unsigned long, ulong)
DEFINE_CHOICE(long long, longlong)
DEFINE_CHOICE(unsigned long long, ulonglong)
DEFINE_CHOICE(float, float)
DEFINE_CHOICE(double, double)
#undef DEFINE_CHOICE

#define CHOICE(which, a, b)                                                                                           \
    _Generic((a) + (b),                                                                                               \
        int: which##_int,                                                                                             \
        unsigned: which##_unsigned,                                                                                   \
        long: which##_long,                                                                                           \
        unsigned long: which##_ulong,                                                                                 \
        long long: which##_longlong,                                                                                  \
        unsigned long long: which##_ulonglong,                                                                        \
        float: which##_float,                                                                                         \
        double: which##_double)(a, b)

#endif
