/* fetch.h - one HTTP request, done properly: who gets the token, when to try again, what to tell the user.
 *
 * The policies live here once, for single requests (fetch_get) and for the parallel downloads (download.h):
 *   - The token goes to the hub's own address only, and only encrypted (or to this machine). Redirects are followed by
 *     us, one by one, so that no other host ever sees it; from https none leads to http.
 *   - Cut connections, time-outs, 408, 429 and 5xx are tried again after a pause that doubles and is spread by chance;
 *     what the server says (Retry-After, RateLimit) is obeyed. Everything else fails at once.
 *   - Proxies, and their exceptions, come from the usual environment variables (libcurl reads them). */
#ifndef HOULE_STORE_FETCH_H
#define HOULE_STORE_FETCH_H

#include "base/progress.h"
#include "base/status.h"
#include "base/text.h"
#include "store/curl_library.h"
#include "store/reply_head.h"


typedef struct FetchSettings {
    const char *endpoint; /* the hub's base address, without a slash at its end */
    const char *token;    /* NULL = none */
    int attempts;         /* without progress, before giving up */
    double pause_scale;   /* 1 = the first pause is about a second */
    int stall_s;          /* without a byte, before a connection counts as cut */
    int connect_s;        /* for connecting */
    const Progress *progress;
    /* Things worth telling while it goes on ("the server asks to wait 60 s"); may be NULL. */
    void (*notice)(void *user, const char *text);
    void *notice_user;
} FetchSettings;

/* The defaults; HOULE_RETRY_SCALE, HOULE_RETRY_ATTEMPTS and HOULE_STALL_SECONDS in the environment change them. */
void fetch_settings_init(FetchSettings *settings, const char *endpoint, const char *token);

typedef struct FetchRequest {
    const char *what; /* for messages: "acme/small" */
    const char *page; /* the model's page, for messages about licences; NULL = none */
    const char *url;
    uint64_t range_bytes; /* 0 = the whole body, else only so many bytes from its start */
    size_t limit_bytes;   /* a larger body is ERR_LIMIT (never with range_bytes) */
} FetchRequest;

typedef struct FetchReply {
    ReplyHead head;  /* of the last hop */
    ReplyHead first; /* of the first hop: the hub's own words about a file */
    char *body;      /* NUL-terminated; mem_free */
    size_t bytes;
    uint64_t total_bytes; /* of the whole file, or HEAD_UNKNOWN */
} FetchReply;

/* Gets one answer of status 200 or 206. Blocks, reports progress (0 of 0), can be cancelled. */
Status fetch_get(const FetchSettings *settings, const FetchRequest *request, FetchReply *reply, Error *err);
void fetch_reply_free(FetchReply *reply);

/* ---- for download.c ---------------------------------------------------------------------------------------------- */

/* Options of every request; *headers must be freed with curl_slist_free_all after the transfer. */
Status fetch_prepare(const FetchSettings *settings, CURL *easy, const char *url, struct curl_slist **headers,
                     Error *err);
/* Where a redirect leads, in a fresh string (mem_free): http or https, and https stays https. */
Status fetch_next_hop(CURL *easy, const char *url, char **next, Error *err);
enum { FETCH_MAX_HOPS = 10 };

typedef enum FetchVerdict { FETCH_GOOD, FETCH_HOP, FETCH_AGAIN, FETCH_NEVER } FetchVerdict;
FetchVerdict fetch_judge(CURLcode code, const ReplyHead *head);
/* Writes down why a request failed for good. `detail` is libcurl's text, may be empty. */
Status fetch_complain(const FetchSettings *settings, const FetchRequest *request, CURLcode code, const char *detail,
                      const ReplyHead *head, Error *err);
/* Microseconds to wait before the next try after `failures` in a row (1, 2, ...). */
uint64_t fetch_pause_us(const FetchSettings *settings, int failures, const ReplyHead *head);
enum { FETCH_LONGEST_WAIT_S = 900 }; /* a server that asks for more is not waited for */

void fetch_notice(const FetchSettings *settings, const char *format, ...) PRINTF_LIKE(2, 3);

/* True when both addresses have the same scheme, host and port. */
bool fetch_same_origin(const char *a, const char *b);
/* "https://host/path" without user, password, query and fragment, in a fresh string (mem_free); NULL when it is no
 * http(s) address or there is no memory. */
char *fetch_plain_url(const char *url);
/* The text with everything but letters, digits and "-._~" escaped, '/' too unless `keep_slash`; appended to a Text. */
bool fetch_escape(const char *text, bool keep_slash, Text *to);

#endif
