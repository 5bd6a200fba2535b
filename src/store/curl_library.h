/* curl_library.h - libcurl, loaded when the first pull needs it.
 *
 * libcurl brings some thirty libraries along (TLS, LDAP, Kerberos, SSH, ...), and loading them takes longer than most
 * of our commands: an empty program takes 0.5 ms, with libcurl 4.4 (the best of 25, on a busy machine; half of them
 * took over 16). Therefore the program isn't linked with it. Its functions are members of `curl_lib`, by their names
 * without "curl_". */
#ifndef HOULE_STORE_CURL_LIBRARY_H
#define HOULE_STORE_CURL_LIBRARY_H

#include "base/status.h"

#include <curl/curl.h>

typedef struct CurlLibrary {
    CURLcode (*global_init_mem)(long flags, curl_malloc_callback m, curl_free_callback f, curl_realloc_callback r,
                                curl_strdup_callback s, curl_calloc_callback c);
    void (*free)(void *block);
    time_t (*getdate)(const char *text, const time_t *unused);
    CURL *(*easy_init)(void);
    void (*easy_cleanup)(CURL *easy);
    void (*easy_reset)(CURL *easy);
    CURLcode (*easy_setopt)(CURL *easy, CURLoption option, ...);
    CURLcode (*easy_getinfo)(CURL *easy, CURLINFO info, ...);
    CURLcode (*easy_perform)(CURL *easy);
    CURLcode (*easy_pause)(CURL *easy, int bits);
    const char *(*easy_strerror)(CURLcode code);
    CURLM *(*multi_init)(void);
    CURLMcode (*multi_cleanup)(CURLM *multi);
    CURLMcode (*multi_add_handle)(CURLM *multi, CURL *easy);
    CURLMcode (*multi_remove_handle)(CURLM *multi, CURL *easy);
    CURLMcode (*multi_perform)(CURLM *multi, int *running);
    CURLMcode (*multi_poll)(CURLM *multi, struct curl_waitfd extra[], unsigned n_extra, int ms, int *count);
    CURLMcode (*multi_wakeup)(CURLM *multi);
    CURLMsg *(*multi_info_read)(CURLM *multi, int *left);
    const char *(*multi_strerror)(CURLMcode code);
    struct curl_slist *(*slist_append)(struct curl_slist *list, const char *text);
    void (*slist_free_all)(struct curl_slist *list);
    CURLU *(*url)(void);
    void (*url_cleanup)(CURLU *url);
    CURLUcode (*url_get)(const CURLU *url, CURLUPart part, char **text, unsigned flags);
    CURLUcode (*url_set)(CURLU *url, CURLUPart part, const char *text, unsigned flags);
} CurlLibrary;

/* All set once curl_library_open has succeeded, all NULL before. */
extern CurlLibrary curl_lib;

/* Loads libcurl for the process and sets it up with our allocator; safe to repeat, from any thread. ERR_UNSUPPORTED
 * when it is not installed. */
Status curl_library_open(Error *err);

#endif
