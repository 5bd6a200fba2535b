/* curl_library.c - see curl_library.h. */
#include "store/curl_library.h"

#include "base/mem.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

CurlLibrary curl_lib;

static const struct {
    size_t offset;
    const char *symbol;
} functions[] = {
    {offsetof(CurlLibrary, global_init_mem), "curl_global_init_mem"},
    {offsetof(CurlLibrary, free), "curl_free"},
    {offsetof(CurlLibrary, getdate), "curl_getdate"},
    {offsetof(CurlLibrary, easy_init), "curl_easy_init"},
    {offsetof(CurlLibrary, easy_cleanup), "curl_easy_cleanup"},
    {offsetof(CurlLibrary, easy_reset), "curl_easy_reset"},
    {offsetof(CurlLibrary, easy_setopt), "curl_easy_setopt"},
    {offsetof(CurlLibrary, easy_getinfo), "curl_easy_getinfo"},
    {offsetof(CurlLibrary, easy_perform), "curl_easy_perform"},
    {offsetof(CurlLibrary, easy_pause), "curl_easy_pause"},
    {offsetof(CurlLibrary, easy_strerror), "curl_easy_strerror"},
    {offsetof(CurlLibrary, multi_init), "curl_multi_init"},
    {offsetof(CurlLibrary, multi_cleanup), "curl_multi_cleanup"},
    {offsetof(CurlLibrary, multi_add_handle), "curl_multi_add_handle"},
    {offsetof(CurlLibrary, multi_remove_handle), "curl_multi_remove_handle"},
    {offsetof(CurlLibrary, multi_perform), "curl_multi_perform"},
    {offsetof(CurlLibrary, multi_poll), "curl_multi_poll"},
    {offsetof(CurlLibrary, multi_wakeup), "curl_multi_wakeup"},
    {offsetof(CurlLibrary, multi_info_read), "curl_multi_info_read"},
    {offsetof(CurlLibrary, multi_strerror), "curl_multi_strerror"},
    {offsetof(CurlLibrary, slist_append), "curl_slist_append"},
    {offsetof(CurlLibrary, slist_free_all), "curl_slist_free_all"},
    {offsetof(CurlLibrary, url), "curl_url"},
    {offsetof(CurlLibrary, url_cleanup), "curl_url_cleanup"},
    {offsetof(CurlLibrary, url_get), "curl_url_get"},
    {offsetof(CurlLibrary, url_set), "curl_url_set"},
};

/* Debian's flavour with GnuTLS, which shares its TLS library with us, then whatever flavour the system calls its own.
 * Both have the same functions of the same ABI (4), whichever's header we were compiled with. */
static const char *const file_names[] = {"libcurl-gnutls.so.4", "libcurl.so.4"};

/* libcurl's memory is counted with ours, and can be made to fail like ours. */
static void *give(size_t bytes) {
    return mem_alloc(bytes, MEM_NETWORK);
}

static void take_back(void *block) {
    mem_free(block);
}

static void *resize(void *block, size_t bytes) {
    return mem_realloc(block, bytes, MEM_NETWORK);
}

static char *copy(const char *text) {
    return mem_strdup(text, MEM_NETWORK);
}

static void *give_zeroed(size_t count, size_t bytes) {
    return mem_array(count, bytes, MEM_NETWORK);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static Status outcome;
static char reason[256];

static bool look_up(void *library) {
    CurlLibrary found;
    for (size_t i = 0; i < COUNT(functions); i++) {
        const void *symbol = dlsym(library, functions[i].symbol);
        if (symbol == NULL) {
            snprintf(reason, sizeof reason, "this libcurl is too old, it has no %s", functions[i].symbol);
            return false;
        }
        memcpy((char *)&found + functions[i].offset, &symbol, sizeof symbol); /* C has no cast from data to functions */
    }
    const CURLcode code = found.global_init_mem(CURL_GLOBAL_DEFAULT, give, take_back, resize, copy, give_zeroed);
    if (code != CURLE_OK) {
        snprintf(reason, sizeof reason, "it could not be started: %s", found.easy_strerror(code));
        return false;
    }
    curl_lib = found;
    return true;
}

static void load(void) {
    void *library = NULL;
    for (size_t i = 0; i < COUNT(file_names) && library == NULL; i++)
        library = dlopen(file_names[i], RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        snprintf(reason, sizeof reason, "%s; on Debian it is in the package libcurl3-gnutls", dlerror());
    outcome = library != NULL && look_up(library) ? OK : ERR_UNSUPPORTED; /* never unloaded: it has threads and state */
}

Status curl_library_open(Error *err) {
    pthread_once(&once, load);
    FAIL_IF(outcome != OK, outcome, "libcurl, which fetches models, cannot be used: %s", reason);
    return OK;
}
