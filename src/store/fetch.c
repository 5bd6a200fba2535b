/* fetch.c - see fetch.h. */
#include "store/fetch.h"

#include "base/clock.h"
#include "base/mem.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

/* ---- settings ---------------------------------------------------------------------------------------------------- */

void fetch_settings_init(FetchSettings *settings, const char *endpoint, const char *token) {
    *settings = (FetchSettings){.endpoint = endpoint,
                                .token = token != NULL && *token != '\0' ? token : NULL,
                                .attempts = 7,
                                .pause_scale = 1,
                                .stall_s = 30,
                                .connect_s = 20};
    const char *scale = getenv("HOULE_RETRY_SCALE");
    const char *attempts = getenv("HOULE_RETRY_ATTEMPTS");
    const char *stall = getenv("HOULE_STALL_SECONDS");
    double real;
    int64_t whole;
    if (scale != NULL && parse_double(scale, &real) && real >= 0 && real <= 100)
        settings->pause_scale = real;
    if (attempts != NULL && parse_int64(attempts, &whole) && whole >= 1 && whole <= 1000)
        settings->attempts = (int)whole;
    if (stall != NULL && parse_int64(stall, &whole) && whole >= 1 && whole <= 3600)
        settings->stall_s = (int)whole;
}

void fetch_notice(const FetchSettings *settings, const char *format, ...) {
    if (settings->notice == NULL)
        return;
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    settings->notice(settings->notice_user, text);
}

/* ---- addresses --------------------------------------------------------------------------------------------------- */

typedef struct Origin {
    char *scheme, *host, *port;
} Origin;

static void origin_free(Origin *o) {
    curl_lib.free(o->scheme);
    curl_lib.free(o->host);
    curl_lib.free(o->port);
}

static bool origin_of(const char *url, Origin *o) {
    *o = (Origin){0};
    if (curl_library_open(NULL) != OK)
        return false;
    CURLU *parsed = curl_lib.url();
    const bool good = parsed != NULL && curl_lib.url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
                      curl_lib.url_get(parsed, CURLUPART_SCHEME, &o->scheme, 0) == CURLUE_OK &&
                      curl_lib.url_get(parsed, CURLUPART_HOST, &o->host, 0) == CURLUE_OK &&
                      curl_lib.url_get(parsed, CURLUPART_PORT, &o->port, CURLU_DEFAULT_PORT) == CURLUE_OK;
    curl_lib.url_cleanup(parsed);
    if (!good)
        origin_free(o);
    return good;
}

bool fetch_same_origin(const char *a, const char *b) {
    Origin first, second;
    if (!origin_of(a, &first))
        return false;
    if (!origin_of(b, &second)) {
        origin_free(&first);
        return false;
    }
    const bool same = strcasecmp(first.scheme, second.scheme) == 0 && strcasecmp(first.host, second.host) == 0 &&
                      strcmp(first.port, second.port) == 0;
    origin_free(&first);
    origin_free(&second);
    return same;
}

static bool is_private_way(const char *url) {
    Origin o;
    if (!origin_of(url, &o))
        return false;
    const bool private_way = strcasecmp(o.scheme, "https") == 0 || strcasecmp(o.host, "localhost") == 0 ||
                             starts_with(o.host, "127.") || strcmp(o.host, "[::1]") == 0;
    origin_free(&o);
    return private_way;
}

static bool may_send_token(const FetchSettings *settings, const char *url) {
    return settings->token != NULL && fetch_same_origin(url, settings->endpoint) && is_private_way(url);
}

char *fetch_plain_url(const char *url) {
    if (curl_library_open(NULL) != OK)
        return NULL;
    CURLU *parsed = curl_lib.url();
    char *plain = NULL, *copy = NULL, *scheme = NULL;
    if (parsed != NULL && curl_lib.url_set(parsed, CURLUPART_URL, url, 0) == CURLUE_OK &&
        curl_lib.url_get(parsed, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
        (strcasecmp(scheme, "http") == 0 || strcasecmp(scheme, "https") == 0) &&
        curl_lib.url_set(parsed, CURLUPART_USER, NULL, 0) == CURLUE_OK &&
        curl_lib.url_set(parsed, CURLUPART_PASSWORD, NULL, 0) == CURLUE_OK &&
        curl_lib.url_set(parsed, CURLUPART_QUERY, NULL, 0) == CURLUE_OK &&
        curl_lib.url_set(parsed, CURLUPART_FRAGMENT, NULL, 0) == CURLUE_OK &&
        curl_lib.url_get(parsed, CURLUPART_URL, &plain, 0) == CURLUE_OK)
        copy = mem_strdup(plain, MEM_NETWORK);
    curl_lib.free(scheme);
    curl_lib.free(plain);
    curl_lib.url_cleanup(parsed);
    return copy;
}

bool fetch_escape(const char *text, bool keep_slash, Text *to) {
    for (; *text != '\0'; text++) {
        const char c = *text;
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || strchr("-._~", c) != NULL ||
            (c == '/' && keep_slash))
            text_append_char(to, c);
        else
            text_append_format(to, "%%%02X", (unsigned)(unsigned char)c);
    }
    return !to->failed;
}

Status fetch_next_hop(CURL *easy, const char *url, char **next, Error *err) {
    *next = NULL;
    const char *target = NULL;
    curl_lib.easy_getinfo(easy, CURLINFO_REDIRECT_URL, &target);
    FAIL_IF(target == NULL || strlen(target) > 16384, ERR_NETWORK, "%.200s: redirected to nowhere", url);
    FAIL_IF(!starts_with(target, "https://") && !starts_with(target, "http://"), ERR_NETWORK,
            "%.200s: redirected to an address that is neither http nor https: %.100s", url, target);
    FAIL_IF(strncasecmp(url, "https:", 6) == 0 && !starts_with(target, "https://"), ERR_NETWORK,
            "%.200s: redirected from https to http, which is not followed", url);
    *next = mem_strdup(target, MEM_NETWORK);
    FAIL_IF(*next == NULL, ERR_MEMORY, "no memory for an address");
    return OK;
}

/* ---- what every request has -------------------------------------------------------------------------------------- */

static const char *set_options(CURL *easy, const FetchSettings *settings, const char *url) {
    const char *what = NULL;
#define SET(option, value)                                                                                             \
    if (what == NULL && curl_lib.easy_setopt(easy, option, value) != CURLE_OK)                                         \
    what = #option
    SET(CURLOPT_URL, url);
    SET(CURLOPT_USERAGENT, "houle");
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_CONNECTTIMEOUT, (long)settings->connect_s);
    /* One connection per range: streams that share one would share its speed too. */
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
#if LIBCURL_VERSION_NUM >= 0x075500
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
#else
    SET(CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
    const char *certificates = getenv("SSL_CERT_FILE");
    if (certificates != NULL && *certificates != '\0')
        SET(CURLOPT_CAINFO, certificates);
#undef SET
    return what;
}

Status fetch_prepare(const FetchSettings *settings, CURL *easy, const char *url, struct curl_slist **headers,
                     Error *err) {
    *headers = NULL;
    const char *refused = set_options(easy, settings, url);
    FAIL_IF(refused != NULL, ERR_MEMORY, "libcurl refuses %s", refused);
    if (!may_send_token(settings, url))
        return OK;
    Text line = {0};
    text_append_format(&line, "Authorization: Bearer %s", settings->token);
    /* A line break in the token would let it write headers of its own. */
    const bool sane = !line.failed && strpbrk(settings->token, "\r\n") == NULL;
    if (sane)
        *headers = curl_lib.slist_append(NULL, line.bytes);
    text_free(&line);
    FAIL_IF(!sane, ERR_ARGUMENT, "HF_TOKEN holds a line break; set it to the token alone");
    FAIL_IF(*headers == NULL, ERR_MEMORY, "no memory for a request");
    /* Apart from the headers for a proxy, which must not see it when it only passes an encrypted connection on. */
    if (curl_lib.easy_setopt(easy, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE) != CURLE_OK ||
        curl_lib.easy_setopt(easy, CURLOPT_HTTPHEADER, *headers) != CURLE_OK) {
        curl_lib.slist_free_all(*headers);
        *headers = NULL;
        return error_set(err, ERR_MEMORY, "libcurl refuses a header");
    }
    return OK;
}

FetchVerdict fetch_judge(CURLcode code, const ReplyHead *head) {
    switch (code) {
    case CURLE_OK:
        break;
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PARTIAL_FILE:
    case CURLE_OPERATION_TIMEDOUT:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_WEIRD_SERVER_REPLY:
        return FETCH_AGAIN;
    default:
        return FETCH_NEVER;
    }
    if (head->too_large)
        return FETCH_NEVER;
    switch (head->status) {
    case 200:
    case 206: /* a compressed body was not asked for, and its bytes are not the file's */
        return head->encoded ? FETCH_NEVER : FETCH_GOOD;
    case 301:
    case 302:
    case 303:
    case 307:
    case 308:
        return FETCH_HOP;
    case 0:
    case 408:
    case 425:
    case 429:
        return FETCH_AGAIN;
    default:
        return head->status >= 500 && head->status != 501 && head->status != 505 ? FETCH_AGAIN : FETCH_NEVER;
    }
}

/* Uniform in [0, 1); which numbers come does not matter, only that two processes get different ones. */
static double chance(void) {
    static atomic_uint_fast64_t state;
    uint64_t x = atomic_load(&state);
    if (x == 0)
        x = clock_ns() ^ (uint64_t)getpid() << 32;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    atomic_store(&state, x);
    return (double)(x >> 11) * 0x1p-53;
}

uint64_t fetch_pause_us(const FetchSettings *settings, int failures, const ReplyHead *head) {
    double seconds = 1;
    for (int i = 1; i < failures && seconds < 60; i++)
        seconds *= 2;
    seconds *= (0.5 + chance()) * settings->pause_scale;
    if (head->wait_s >= 0) /* asked for by the server: at least so long, and not all at the same instant */
        seconds = MAX((double)MIN(head->wait_s, (int64_t)FETCH_LONGEST_WAIT_S) + 0.25 * chance(), seconds);
    return (uint64_t)(seconds * 1e6);
}

/* ---- explaining -------------------------------------------------------------------------------------------------- */

static Status complain_of_access(const FetchSettings *settings, const FetchRequest *request, const ReplyHead *head,
                                 Error *err) {
    const char *page = request->page != NULL ? request->page : request->url;
    const bool sent = settings->token != NULL && is_private_way(settings->endpoint);
    if (request->page != NULL && !fetch_same_origin(request->url, settings->endpoint))
        return error_set(err, ERR_DENIED,
                         "%s: the address that the hub gave for this file is refused (%d); try again "
                         "in a while",
                         request->what, head->status);
    if (request->page == NULL)
        return error_set(err, ERR_DENIED, "%s: the server does not let us in (%d)", request->what, head->status);
    if (settings->token != NULL && !sent)
        return error_set(err, ERR_DENIED,
                         "%s: the hub wants to know who you are (%d), but HF_TOKEN is sent over https only, and %s is "
                         "not",
                         request->what, head->status, settings->endpoint);
    if (strcmp(head->error_code, "GatedRepo") == 0 && sent)
        return error_set(err, ERR_DENIED,
                         "%s: your token is known, but it may not read this model (%d). Open %s, accept the licence "
                         "there (some publishers answer by hand), and see that the token may read gated models",
                         request->what, head->status, page);
    if (strcmp(head->error_code, "GatedRepo") == 0)
        return error_set(err, ERR_DENIED,
                         "%s: the publisher wants its licence accepted first (%d). Open %s, accept it there, make a "
                         "token with the right to read at %s/settings/tokens, and set HF_TOKEN to it",
                         request->what, head->status, page, settings->endpoint);
    if (sent)
        return error_set(err, ERR_DENIED,
                         "%s: the hub refuses (%d). Either there is no such model (is the name spelled right?), or "
                         "HF_TOKEN is wrong, expired or may not read it; its page would be %s",
                         request->what, head->status, page);
    return error_set(
        err, ERR_DENIED,
        "%s: the hub refuses (%d). Either there is no such model (is the name spelled right?), or it is "
        "private or gated: open %s, accept its licence, and set HF_TOKEN to a token from %s/settings/tokens",
        request->what, head->status, page, settings->endpoint);
}

static Status complain_of_absence(const FetchRequest *request, const ReplyHead *head, Error *err) {
    if (strcmp(head->error_code, "RevisionNotFound") == 0)
        return error_set(err, ERR_NOT_FOUND, "%s: the hub has no such revision (branch, tag or commit)", request->what);
    if (strcmp(head->error_code, "EntryNotFound") == 0)
        return error_set(err, ERR_NOT_FOUND, "%s: the hub has no such file", request->what);
    return error_set(err, ERR_NOT_FOUND, "%s: not found (%d) at %.300s", request->what, head->status, request->url);
}

Status fetch_complain(const FetchSettings *settings, const FetchRequest *request, CURLcode code, const char *detail,
                      const ReplyHead *head, Error *err) {
    if (head->too_large)
        return error_set(err, ERR_NETWORK, "%s: the server sends more than %d bytes of headers", request->what,
                         HEAD_LIMIT_BYTES);
    if (code == CURLE_OUT_OF_MEMORY)
        return error_set(err, ERR_MEMORY, "%s: no memory for the download", request->what);
    if (code != CURLE_OK) {
        const char *reason = detail[0] != '\0' ? detail : curl_lib.easy_strerror(code);
        Origin o;
        const bool known = origin_of(request->url, &o);
        const Status status =
            error_set(err, ERR_NETWORK, "%s: %.150s: %.300s", request->what, known ? o.host : request->url, reason);
        if (known)
            origin_free(&o);
        return status;
    }
    switch (head->status) {
    case 200:
    case 206:
        return error_set(err, ERR_NETWORK, "%s: the server sends the file compressed, which was not asked for",
                         request->what);
    case 401:
    case 403:
    case 407:
        return complain_of_access(settings, request, head, err);
    case 404:
    case 410:
        return complain_of_absence(request, head, err);
    case 429:
        return error_set(err, ERR_BUSY,
                         "%s: the server says that there were too many requests (429)%s; try again "
                         "later",
                         request->what, settings->token == NULL ? ", and allows more with HF_TOKEN" : "");
    default:
        return error_set(err, head->status >= 500 ? ERR_BUSY : ERR_NETWORK, "%s: the server answers %d%s%s (%.200s)",
                         request->what, head->status, head->error_message[0] != '\0' ? ": " : "", head->error_message,
                         request->url);
    }
}

/* ---- one request ------------------------------------------------------------------------------------------------- */

typedef struct Get {
    const FetchSettings *settings;
    const FetchRequest *request;
    ReplyHead head;
    Text body;
    uint64_t last_byte_us;
    bool enough; /* all that was asked for is here; the rest is not wanted */
    bool too_large;
    bool cancelled;
    bool stalled;
} Get;

static size_t on_header(char *line, size_t size, size_t count, void *user) {
    Get *get = user;
    get->last_byte_us = clock_us();
    reply_head_line(&get->head, line, size * count);
    return get->head.too_large ? 0 : size * count;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *user) {
    Get *get = user;
    get->last_byte_us = clock_us();
    size_t n = size * count;
    if (get->head.status != 200 && get->head.status != 206)
        return n; /* an error's page; what matters is in the headers */
    const uint64_t wanted = get->request->range_bytes;
    if (wanted > 0 && get->body.count + n >= wanted) {
        n = (size_t)(wanted - get->body.count);
        get->enough = true;
    } else if (wanted == 0 && get->body.count + n > get->request->limit_bytes) {
        get->too_large = true;
        return 0;
    }
    if (!text_append(&get->body, bytes, n) || get->enough)
        return 0;
    return n;
}

static int on_progress(void *user, curl_off_t total, curl_off_t now, curl_off_t up_total, curl_off_t up_now) {
    (void)total, (void)now, (void)up_total, (void)up_now;
    Get *get = user;
    get->cancelled = !progress_report(get->settings->progress, get->request->what, 0, 0);
    get->stalled = clock_us() - get->last_byte_us > (uint64_t)get->settings->stall_s * 1000000;
    return get->cancelled || get->stalled ? 1 : 0;
}

/* One exchange with one host. *code and *detail are set when it did not work. */
static Status one_hop(Get *get, CURL *easy, const char *url, CURLcode *code, char detail[CURL_ERROR_SIZE], Error *err) {
    reply_head_begin(&get->head);
    text_clear(&get->body);
    get->enough = get->too_large = get->cancelled = get->stalled = false;
    get->last_byte_us = clock_us();
    detail[0] = '\0';
    curl_lib.easy_reset(easy);
    struct curl_slist *headers;
    TRY(fetch_prepare(get->settings, easy, url, &headers, err));
    char range[32];
    snprintf(range, sizeof range, "0-%llu", (unsigned long long)(get->request->range_bytes - 1));
    curl_lib.easy_setopt(easy, CURLOPT_ERRORBUFFER, detail);
    curl_lib.easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_lib.easy_setopt(easy, CURLOPT_HEADERDATA, get);
    curl_lib.easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_lib.easy_setopt(easy, CURLOPT_WRITEDATA, get);
    curl_lib.easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_lib.easy_setopt(easy, CURLOPT_XFERINFODATA, get);
    curl_lib.easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    if (get->request->range_bytes > 0)
        *code = curl_lib.easy_setopt(easy, CURLOPT_RANGE, range);
    else
        *code = CURLE_OK;
    if (*code == CURLE_OK)
        *code = curl_lib.easy_perform(easy);
    curl_lib.slist_free_all(headers);
    if (get->enough && *code == CURLE_WRITE_ERROR)
        *code = CURLE_OK;
    FAIL_IF(get->body.failed, ERR_MEMORY, "%s: no memory for the answer", get->request->what);
    FAIL_IF(get->cancelled, ERR_CANCELLED, "%s: stopped", get->request->what);
    FAIL_IF(get->too_large, ERR_LIMIT, "%s: the server sends more than the %zu bytes allowed", get->request->what,
            get->request->limit_bytes);
    if (get->stalled) {
        *code = CURLE_OPERATION_TIMEDOUT;
        snprintf(detail, CURL_ERROR_SIZE, "no byte came for %d seconds", get->settings->stall_s);
    }
    return OK;
}

/* Follows redirects to the end. */
static Status all_hops(Get *get, CURL *easy, FetchReply *reply, CURLcode *code, char detail[CURL_ERROR_SIZE],
                       Error *err) {
    char *url = mem_strdup(get->request->url, MEM_NETWORK);
    FAIL_IF(url == NULL, ERR_MEMORY, "no memory for an address");
    Status status = OK;
    for (int hop = 0; status == OK; hop++) {
        status = one_hop(get, easy, url, code, detail, err);
        if (status != OK)
            break;
        if (hop == 0)
            reply->first = get->head;
        if (fetch_judge(*code, &get->head) != FETCH_HOP)
            break;
        if (hop == FETCH_MAX_HOPS) {
            status =
                error_set(err, ERR_NETWORK, "%s: redirected more than %d times", get->request->what, FETCH_MAX_HOPS);
            break;
        }
        char *next;
        status = fetch_next_hop(easy, url, &next, err);
        if (status == OK) {
            mem_free(url);
            url = next;
        }
    }
    mem_free(url);
    return status;
}

static Status sleep_us(const FetchSettings *settings, const char *what, uint64_t us, Error *err) {
    const uint64_t until = clock_us() + us;
    for (uint64_t now = clock_us(); now < until; now = clock_us()) {
        FAIL_IF(!progress_report(settings->progress, what, 0, 0), ERR_CANCELLED, "%s: stopped", what);
        const uint64_t left = MIN(until - now, 50000);
        nanosleep(&(struct timespec){.tv_nsec = (long)left * 1000}, NULL);
    }
    return OK;
}

static Status get_with_retries(Get *get, CURL *easy, FetchReply *reply, Error *err) {
    const FetchSettings *settings = get->settings;
    for (int failures = 0;;) {
        CURLcode code = CURLE_OK;
        char detail[CURL_ERROR_SIZE];
        TRY(all_hops(get, easy, reply, &code, detail, err));
        const FetchVerdict verdict = fetch_judge(code, &get->head);
        if (verdict == FETCH_GOOD) {
            FAIL_IF(get->head.status == 206 && get->head.range_start != 0, ERR_NETWORK,
                    "%s: the server sends another part of the file than was asked for", get->request->what);
            return OK;
        }
        failures++;
        /* A host that is not there at all is more often a typing mistake than a passing trouble. */
        const int most = code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT
                             ? MIN(3, settings->attempts)
                             : settings->attempts;
        if (verdict != FETCH_AGAIN || failures >= most || get->head.wait_s > FETCH_LONGEST_WAIT_S)
            return fetch_complain(settings, get->request, code, detail, &get->head, err);
        const uint64_t pause = fetch_pause_us(settings, failures, &get->head);
        if (pause > 3000000)
            fetch_notice(settings, "%s: %s; trying again in %.0f s", get->request->what,
                         code != CURLE_OK ? curl_lib.easy_strerror(code) : "the server asks to wait",
                         (double)pause * 1e-6);
        TRY(sleep_us(settings, get->request->what, pause, err));
    }
}

Status fetch_get(const FetchSettings *settings, const FetchRequest *request, FetchReply *reply, Error *err) {
    *reply = (FetchReply){0};
    TRY(curl_library_open(err));
    CURL *easy = curl_lib.easy_init();
    FAIL_IF(easy == NULL, ERR_MEMORY, "%s: no memory for a request", request->what);
    Get get = {.settings = settings, .request = request};
    Status status = get_with_retries(&get, easy, reply, err);
    curl_lib.easy_cleanup(easy);
    if (status == OK) {
        reply->head = get.head;
        reply->bytes = get.body.count;
        reply->total_bytes = get.head.status == 206 ? get.head.total_bytes : get.head.body_bytes;
        reply->body = text_take(&get.body);
        if (reply->body == NULL)
            status = error_set(err, ERR_MEMORY, "%s: no memory for the answer", request->what);
    }
    text_free(&get.body);
    return status;
}

void fetch_reply_free(FetchReply *reply) {
    mem_free(reply->body);
    *reply = (FetchReply){0};
}
