/* download.c - see download.h.
 *
 * One thread runs all connections through libcurl's multi interface; the keeper (keeper.h) hashes and syncs in another.
 * A slot's transfer goes through hops: the hub's address redirects to a signed address of its content network, which is
 * remembered for the file and used directly until it is refused. */
#include "store/download.h"

#include "base/clock.h"
#include "base/folder.h"
#include "base/mem.h"
#include "store/keeper.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    RUN_CHUNKS = 16,      /* the longest run of one request: 64 MiB */
    MAX_RESTARTS = 2,     /* of a file whose content changes under us */
    CONNECT_FAILURES = 3, /* without ever having heard of a server */
    PROGRESS_US = 100000,
};
static const uint64_t solid_bytes = 256 << 10; /* a try that brought so much was no failure */

typedef enum FileState {
    FILE_WAITING,    /* not begun in this run */
    FILE_OPEN,       /* chunks are fetched, or all are here and the keeper is at it */
    FILE_RESTARTING, /* the keeper is forgetting its chunks */
    FILE_PLACED,
} FileState;

typedef struct File {
    DownloadItem *item;
    size_t index;
    FileState state;
    Partial *partial;
    size_t n_chunk, n_free;
    uint8_t *given;         /* per chunk: done, or some slot's business */
    uint64_t earlier_bytes; /* here before the file is opened */
    char *direct_url;
    char etag[HEAD_TAG_BYTES]; /* of the first answer, where no checksum is known */
    bool serial;               /* the server ignores ranges: one connection at a time */
    int n_slot, restarts;
} File;

typedef struct Engine Engine;

typedef struct Slot {
    Engine *engine;
    File *file; /* NULL = idle */
    CURL *easy;
    struct curl_slist *headers;
    char *url;    /* of the hop that runs */
    bool running; /* its handle is in the multi */
    bool direct;  /* url is the file's remembered one */
    bool paused, retired;
    int hops, failures;
    uint64_t at, end;  /* the run: next byte wanted, byte after the last */
    uint64_t wake_us;  /* not before */
    uint64_t heard_us; /* last byte */
    /* The answer that is coming in. */
    ReplyHead head;
    char detail[CURL_ERROR_SIZE];
    bool accepted;   /* the head was looked at, and the body is the file's */
    bool whole;      /* all of the file comes, from its first byte */
    bool changed;    /* not the content that was expected */
    uint64_t stream; /* where in the file the next byte belongs */
    uint64_t got_bytes;
    Digest digest; /* of the chunk at `stream`, while it is under way */
    Error err;     /* our own failure inside a callback: disk, memory */
} Slot;

struct Engine {
    DownloadJob *job;
    const FetchSettings *settings;
    CURLM *multi;
    Keeper *keeper;
    size_t n_file, n_placed;
    File *files;
    int n_slot;
    Slot *slots;
    double allowance; /* bytes that may come now, under a limit */
    uint64_t allowance_us, hold_until_us, shown_us;
    uint64_t shown_done, total_bytes;
    bool heard_anything;
};

/* ---- files ------------------------------------------------------------------------------------------------------- */

static void find_free_chunks(File *f) {
    f->n_free = 0;
    for (size_t i = 0; i < f->n_chunk; i++) {
        f->given[i] = partial_has(f->partial, i) ? 1 : 0;
        f->n_free += f->given[i] == 0;
    }
}

static Status open_file(Engine *e, File *f, Error *err) {
    const DownloadItem *item = f->item;
    Status status =
        partial_open(e->job->partial_folder, item->identity, item->bytes, DOWNLOAD_CHUNK_BYTES, &f->partial, err);
    if (status != OK) {
        error_context(err, "%s", item->what);
        return status;
    }
    f->n_chunk = partial_chunks(f->partial);
    f->given = mem_array(f->n_chunk, 1, MEM_NETWORK);
    FAIL_IF(f->given == NULL, ERR_MEMORY, "%s: no memory for the download", item->what);
    find_free_chunks(f);
    f->state = FILE_OPEN;
    keeper_watch(e->keeper, f->index, f->partial, item->bytes, item->sha256, item->git_sha1);
    return OK;
}

static bool identity_in_use(const Engine *e, const File *f) {
    for (size_t i = 0; i < e->n_file; i++)
        if (e->files[i].partial != NULL && strcmp(e->files[i].item->identity, f->item->identity) == 0)
            return true;
    return false;
}

static Status place_file(Engine *e, File *f, Error *err) {
    DownloadItem *item = f->item;
    int folder;
    const char *name;
    TRY(folder_open_parent(e->job->target_folder, item->path, true, &folder, &name, err));
    const Status status = partial_publish(f->partial, folder, name, item->replace, err);
    close(folder);
    if (status != OK) {
        error_context(err, "%s", item->what);
        return status;
    }
    partial_close(f->partial);
    f->partial = NULL;
    f->state = FILE_PLACED;
    e->n_placed++;
    item->done = true;
    return e->job->placed != NULL ? e->job->placed(e->job->user, f->index, err) : OK;
}

/* ---- slots: taking and giving back work -------------------------------------------------------------------------- */

static void stop_transfer(Slot *s) {
    if (s->running)
        curl_lib.multi_remove_handle(s->engine->multi, s->easy);
    s->running = s->paused = false;
    curl_lib.slist_free_all(s->headers);
    s->headers = NULL;
}

static size_t chunk_of(uint64_t offset) {
    return (size_t)(offset / DOWNLOAD_CHUNK_BYTES);
}

/* The slot becomes idle; chunks of its run that are not done can be taken by others. */
static void give_back(Slot *s) {
    File *f = s->file;
    stop_transfer(s);
    digest_drop(&s->digest);
    mem_free(s->url);
    s->url = NULL;
    s->file = NULL;
    s->hops = 0;
    if (f == NULL)
        return;
    f->n_slot--;
    if (f->state != FILE_OPEN)
        return;
    if (f->serial) { /* what came was not the run that was given */
        find_free_chunks(f);
        return;
    }
    for (size_t c = chunk_of(s->at); c < f->n_chunk && partial_chunk_start(f->partial, c) < s->end; c++)
        if (f->given[c] != 0 && !partial_has(f->partial, c)) {
            f->given[c] = 0;
            f->n_free++;
        }
}

static void give_run(Slot *s, File *f, size_t first, size_t count) {
    for (size_t c = first; c < first + count; c++)
        f->given[c] = 1;
    f->n_free -= count;
    f->n_slot++;
    s->file = f;
    s->at = partial_chunk_start(f->partial, first);
    s->end = partial_chunk_start(f->partial, first + count - 1) + partial_chunk_length(f->partial, first + count - 1);
    s->hops = 0;
    s->direct = false;
}

/* Long runs while there is much to do, single chunks towards the end, so that all connections end together. */
static bool take_run(Engine *e, Slot *s, File *f) {
    if (f->state != FILE_OPEN || f->n_free == 0 || (f->serial && f->n_slot > 0))
        return false;
    size_t first = 0;
    while (f->given[first] != 0)
        first++;
    const size_t share = f->n_free / (2 * (size_t)e->n_slot);
    const size_t most = f->serial ? f->n_chunk : MAX(1, MIN(share, (size_t)RUN_CHUNKS));
    size_t count = 1;
    while (count < most && first + count < f->n_chunk && f->given[first + count] == 0)
        count++;
    give_run(s, f, first, count);
    return true;
}

/* The slot with most whole chunks in front of it gives up the second half of them. */
static bool take_over(Engine *e, Slot *s) {
    Slot *victim = NULL;
    size_t most = 1;
    for (int i = 0; i < e->n_slot; i++) {
        Slot *v = &e->slots[i];
        if (v->file == NULL || v->file->serial || v->whole || v->file->state != FILE_OPEN)
            continue;
        const size_t begun = chunk_of(v->at) + 1, end = chunk_of(v->end - 1) + 1;
        if (end > begun && end - begun > most) {
            most = end - begun;
            victim = v;
        }
    }
    if (victim == NULL)
        return false;
    File *f = victim->file;
    const size_t end = chunk_of(victim->end - 1) + 1, count = most / 2, first = end - count;
    victim->end = partial_chunk_start(f->partial, first);
    f->n_free += count; /* give_run counts them off again */
    give_run(s, f, first, count);
    return true;
}

static Status find_work(Engine *e, Slot *s, Error *err) {
    for (size_t i = 0; i < e->n_file; i++)
        if (take_run(e, s, &e->files[i]))
            return OK;
    for (size_t i = 0; i < e->n_file; i++) {
        File *f = &e->files[i];
        if (f->state != FILE_WAITING || identity_in_use(e, f))
            continue;
        TRY(open_file(e, f, err));
        if (take_run(e, s, f)) /* not when it had been fetched to the end already */
            return OK;
    }
    take_over(e, s);
    return OK;
}

/* ---- the callbacks: what comes in -------------------------------------------------------------------------------- */

static size_t on_header(char *line, size_t size, size_t count, void *user) {
    Slot *s = user;
    s->heard_us = clock_us();
    s->engine->heard_anything = true;
    reply_head_line(&s->head, line, size * count);
    return s->head.too_large ? 0 : size * count;
}

/* Looks at the head once the body begins: is this the part of the file that was asked for? */
static bool accept_answer(Slot *s) {
    const ReplyHead *head = &s->head;
    File *f = s->file;
    const DownloadItem *item = f->item;
    s->whole = head->status == 200;
    const uint64_t total = s->whole ? head->body_bytes : head->total_bytes;
    const bool checked = item->sha256 != NULL || item->git_sha1 != NULL;
    if (total != HEAD_UNKNOWN && total != item->bytes)
        s->changed = true;
    if (!checked && f->etag[0] == '\0')
        snprintf(f->etag, sizeof f->etag, "%s", head->etag);
    else if (!checked && strcmp(f->etag, head->etag) != 0)
        s->changed = true;
    if (s->changed)
        return false;
    if (head->encoded) {
        error_set(&s->err, ERR_NETWORK, "%s: the server sends the file compressed, which was not asked for",
                  item->what);
        return false;
    }
    if (!s->whole && head->range_start != s->at) {
        error_set(&s->err, ERR_NETWORK, "%s: the server sends another part of the file than was asked for", item->what);
        return false;
    }
    if (!s->direct && strcmp(s->url, item->url) != 0) {
        char *copy = mem_strdup(s->url, MEM_NETWORK);
        if (copy != NULL) { /* without it each run is redirected anew: slower, not wrong */
            mem_free(f->direct_url);
            f->direct_url = copy;
        }
    }
    s->stream = s->whole ? 0 : s->at;
    if (s->whole && s->at != 0) /* the chunk under way begins anew when the stream comes to it */
        digest_drop(&s->digest);
    if (s->whole)
        f->serial = true;
    s->accepted = true;
    return true;
}

/* One piece that lies within one chunk. */
static Status take_piece(Slot *s, const char *bytes, size_t count, Error *err) {
    Partial *partial = s->file->partial;
    const size_t chunk = chunk_of(s->stream);
    const uint64_t start = partial_chunk_start(partial, chunk), length = partial_chunk_length(partial, chunk);
    if (s->whole && partial_has(partial, chunk)) { /* had already; the server sends it all the same */
        s->stream += count;
        return OK;
    }
    if (s->stream == start) {
        digest_drop(&s->digest);
        TRY(digest_begin(&s->digest, DIGEST_SHA256, err));
    }
    TRY(partial_write(partial, s->stream, bytes, count, err));
    digest_add(&s->digest, bytes, count);
    s->stream += count;
    if (!s->whole)
        s->at = s->stream;
    if (s->stream < start + length)
        return OK;
    uint8_t hash[DIGEST_BYTES];
    TRY(digest_end_bytes(&s->digest, hash, err));
    TRY(partial_mark(partial, chunk, hash, err));
    keeper_nudge(s->engine->keeper);
    return OK;
}

static bool run_complete(const Slot *s) {
    return s->whole ? partial_done_bytes(s->file->partial) == s->file->item->bytes : s->at >= s->end;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *user) {
    Slot *s = user;
    Engine *e = s->engine;
    const size_t whole = size * count;
    s->heard_us = clock_us();
    if (s->head.status != 200 && s->head.status != 206)
        return whole;
    if (e->job->bytes_per_s > 0 && e->allowance <= 0) {
        s->paused = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (!s->accepted && !accept_answer(s))
        return 0;
    e->allowance -= (double)whole;
    e->job->received_bytes += whole;
    const uint64_t end = s->whole ? s->file->item->bytes : s->end;
    size_t left = whole;
    while (left > 0 && s->stream < end) {
        const uint64_t chunk_end = MIN(((uint64_t)chunk_of(s->stream) + 1) * DOWNLOAD_CHUNK_BYTES, end);
        const size_t n = (size_t)MIN(left, chunk_end - s->stream);
        if (take_piece(s, bytes, n, &s->err) != OK)
            return 0;
        s->got_bytes += n;
        bytes += n;
        left -= n;
    }
    /* More than wanted: another slot took over the rest, or the server does not know where to stop. */
    if (left > 0 || (s->whole && run_complete(s)))
        return 0;
    return whole;
}

/* ---- transfers --------------------------------------------------------------------------------------------------- */

static Status begin_transfer(Engine *e, Slot *s, Error *err) {
    File *f = s->file;
    if (s->hops == 0) {
        mem_free(s->url);
        s->direct = f->direct_url != NULL;
        s->url = mem_strdup(s->direct ? f->direct_url : f->item->url, MEM_NETWORK);
        FAIL_IF(s->url == NULL, ERR_MEMORY, "no memory for an address");
        s->got_bytes = 0;
    }
    reply_head_begin(&s->head);
    s->detail[0] = '\0';
    s->accepted = s->whole = s->changed = s->paused = false;
    s->err = (Error){0};
    s->heard_us = clock_us();
    curl_lib.easy_reset(s->easy);
    TRY(fetch_prepare(e->settings, s->easy, s->url, &s->headers, err));
    char range[48];
    snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)s->at, (unsigned long long)(s->end - 1));
    const uint64_t rate = e->job->bytes_per_s;
    const long buffer = rate == 0 ? 262144 : (long)MAX(16384, MIN(rate / 8, (uint64_t)262144));
    curl_lib.easy_setopt(s->easy, CURLOPT_ERRORBUFFER, s->detail);
    curl_lib.easy_setopt(s->easy, CURLOPT_HEADERFUNCTION, on_header);
    curl_lib.easy_setopt(s->easy, CURLOPT_HEADERDATA, s);
    curl_lib.easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_lib.easy_setopt(s->easy, CURLOPT_WRITEDATA, s);
    curl_lib.easy_setopt(s->easy, CURLOPT_PRIVATE, s);
    curl_lib.easy_setopt(s->easy, CURLOPT_BUFFERSIZE, buffer);
    FAIL_IF(curl_lib.easy_setopt(s->easy, CURLOPT_RANGE, range) != CURLE_OK ||
                curl_lib.multi_add_handle(e->multi, s->easy) != CURLM_OK,
            ERR_MEMORY, "%s: no memory for a request", f->item->what);
    s->running = true;
    return OK;
}

static bool others_get_on(const Engine *e, const Slot *s) {
    const uint64_t now = clock_us(), recently = (uint64_t)e->settings->stall_s * 1000000;
    for (int i = 0; i < e->n_slot; i++) {
        const Slot *o = &e->slots[i];
        if (o != s && !o->retired && o->running && o->got_bytes > 0 && now - o->heard_us < recently)
            return true;
    }
    return false;
}

/* A try that failed but may be repeated: wait, or give up. */
static Status try_again(Engine *e, Slot *s, CURLcode code, Error *err) {
    if (s->got_bytes >= solid_bytes)
        s->failures = 0;
    s->failures++;
    s->hops = 0;
    const FetchRequest request = {.what = s->file->item->what, .page = s->file->item->page, .url = s->url};
    const bool unreachable = code == CURLE_COULDNT_RESOLVE_HOST || code == CURLE_COULDNT_CONNECT;
    const int most =
        unreachable && !e->heard_anything ? MIN(CONNECT_FAILURES, e->settings->attempts) : e->settings->attempts;
    if (s->failures >= most || s->head.wait_s > FETCH_LONGEST_WAIT_S) {
        if (others_get_on(e, s)) { /* the server does not want so many connections */
            s->retired = true;
            give_back(s);
            return OK;
        }
        return fetch_complain(e->settings, &request, code, s->detail, &s->head, err);
    }
    const uint64_t pause = fetch_pause_us(e->settings, s->failures, &s->head), now = clock_us();
    s->wake_us = now + pause;
    if (s->direct && s->failures > 1) { /* perhaps another of the content network's machines does better */
        mem_free(s->file->direct_url);
        s->file->direct_url = NULL;
    }
    if (s->head.status == 429 || s->head.wait_s >= 0) { /* meant for all of us */
        e->hold_until_us = MAX(e->hold_until_us, s->wake_us);
        if (pause > 3000000)
            fetch_notice(e->settings, "%s: the server asks to wait %.0f s", request.what, (double)pause * 1e-6);
    }
    if (s->file->serial)
        give_back(s); /* without ranges nothing can be continued inside a chunk */
    return OK;
}

/* The content on the other side is not what it was. Where a checksum is known that cannot be mended; otherwise the file
 * begins anew. */
static Status file_changed(Engine *e, File *f, const ReplyHead *head, Error *err) {
    const DownloadItem *item = f->item;
    const uint64_t total = head->status == 200 ? head->body_bytes : head->total_bytes;
    if (total != HEAD_UNKNOWN && total != item->bytes)
        return error_set(err, ERR_NETWORK,
                         "%s: should have %llu bytes, the server has %llu; the file was changed, or "
                         "something between here and there is broken",
                         item->what, (unsigned long long)item->bytes, (unsigned long long)total);
    FAIL_IF(f->restarts++ >= MAX_RESTARTS, ERR_NETWORK,
            "%s: the server's file changes again and again while it is fetched", item->what);
    f->state = FILE_RESTARTING;
    for (int i = 0; i < e->n_slot; i++)
        if (e->slots[i].file == f)
            give_back(&e->slots[i]);
    f->etag[0] = '\0';
    mem_free(f->direct_url);
    f->direct_url = NULL;
    keeper_forget(e->keeper, f->index);
    return OK;
}

/* The hub says with its redirect what lies behind it. */
static bool hop_contradicts(const DownloadItem *item, const ReplyHead *head) {
    if (head->linked_bytes != HEAD_UNKNOWN && head->linked_bytes != item->bytes)
        return true;
    return item->sha256 != NULL && digest_is_hex(DIGEST_SHA256, head->linked_etag) &&
           strcmp(head->linked_etag, item->sha256) != 0;
}

static Status follow_hop(Engine *e, Slot *s, Error *err) {
    const DownloadItem *item = s->file->item;
    FAIL_IF(s->hops >= FETCH_MAX_HOPS, ERR_NETWORK, "%s: redirected more than %d times", item->what, FETCH_MAX_HOPS);
    FAIL_IF(hop_contradicts(item, &s->head), ERR_NETWORK,
            "%s: the hub now has another file under this name than it listed a moment ago; run the command again",
            item->what);
    char *next;
    TRY(fetch_next_hop(s->easy, s->url, &next, err));
    mem_free(s->url);
    s->url = next;
    s->direct = false;
    s->hops++;
    return begin_transfer(e, s, err);
}

/* All other slots leave a file whose server ignores ranges: each of their connections would bring all of it. */
static void make_serial(Engine *e, const Slot *s) {
    for (int i = 0; i < e->n_slot; i++)
        if (&e->slots[i] != s && e->slots[i].file == s->file)
            give_back(&e->slots[i]);
}

static Status transfer_ended(Engine *e, Slot *s, CURLcode code, Error *err) {
    File *f = s->file;
    stop_transfer(s);
    FAIL_IF(s->err.status != OK, s->err.status, "%s", s->err.text);
    if (s->changed)
        return file_changed(e, f, &s->head, err);
    if (s->accepted && run_complete(s)) {
        s->failures = 0;
        give_back(s);
        return OK;
    }
    const FetchVerdict verdict = fetch_judge(code, &s->head);
    if (verdict == FETCH_HOP)
        return follow_hop(e, s, err);
    if (verdict == FETCH_GOOD || verdict == FETCH_AGAIN) { /* a good answer that ended early is a cut one */
        if (verdict == FETCH_GOOD)
            snprintf(s->detail, sizeof s->detail, "the answer ended too early");
        return try_again(e, s, verdict == FETCH_GOOD ? CURLE_PARTIAL_FILE : code, err);
    }
    /* Signed addresses expire: ask the hub for a new one. */
    if (code == CURLE_OK && (s->direct || s->hops > 0) && s->head.status >= 400 && s->head.status < 500 &&
        s->head.status != 416) {
        mem_free(f->direct_url);
        f->direct_url = NULL;
        return try_again(e, s, code, err);
    }
    if (code == CURLE_OK && s->head.status == 416)
        return file_changed(e, f, &s->head, err);
    const FetchRequest request = {.what = f->item->what, .page = f->item->page, .url = s->url};
    return fetch_complain(e->settings, &request, code, s->detail, &s->head, err);
}

/* ---- the loop ---------------------------------------------------------------------------------------------------- */

static Status start_slots(Engine *e, Error *err) {
    const uint64_t now = clock_us();
    if (now < e->hold_until_us)
        return OK;
    for (int i = 0; i < e->n_slot; i++) {
        Slot *s = &e->slots[i];
        if (s->retired || s->running || now < s->wake_us)
            continue;
        if (s->file == NULL)
            TRY(find_work(e, s, err));
        if (s->file != NULL)
            TRY(begin_transfer(e, s, err));
    }
    return OK;
}

static Status end_transfers(Engine *e, Error *err) {
    int left;
    for (const CURLMsg *m; (m = curl_lib.multi_info_read(e->multi, &left)) != NULL;) {
        if (m->msg != CURLMSG_DONE)
            continue;
        char *private_data = NULL;
        const CURLcode code = m->data.result;
        curl_lib.easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &private_data);
        TRY(transfer_ended(e, (Slot *)(void *)private_data, code, err));
    }
    for (int i = 0; i < e->n_slot; i++)
        if (e->slots[i].running && e->slots[i].whole && e->slots[i].file->n_slot > 1)
            make_serial(e, &e->slots[i]);
    return OK;
}

/* Connections that do not speak. One that we hold back ourselves may be silent. */
static Status end_stalled(Engine *e, Error *err) {
    const uint64_t now = clock_us(), most = (uint64_t)e->settings->stall_s * 1000000;
    for (int i = 0; i < e->n_slot; i++) {
        Slot *s = &e->slots[i];
        if (!s->running || s->paused || now - s->heard_us < most)
            continue;
        stop_transfer(s);
        snprintf(s->detail, sizeof s->detail, "no byte came for %d seconds", e->settings->stall_s);
        TRY(try_again(e, s, CURLE_OPERATION_TIMEDOUT, err));
    }
    return OK;
}

static void refill_allowance(Engine *e) {
    if (e->job->bytes_per_s == 0)
        return;
    const uint64_t now = clock_us();
    const double rate = (double)e->job->bytes_per_s;
    e->allowance = MIN(e->allowance + rate * (double)(now - e->allowance_us) * 1e-6, rate * 0.1 + 16384);
    e->allowance_us = now;
    static unsigned turn; /* who goes first changes, so that nobody starves */
    turn++;
    for (int i = 0; i < e->n_slot && e->allowance > 0; i++) {
        Slot *s = &e->slots[(turn + (unsigned)i) % (unsigned)e->n_slot];
        if (!s->running || !s->paused)
            continue;
        s->paused = false;
        s->heard_us = now;
        curl_lib.easy_pause(s->easy, CURLPAUSE_CONT);
    }
}

static Status look_at_keeper(Engine *e, Error *err) {
    TRY(keeper_check(e->keeper, err));
    for (size_t i = 0; i < e->n_file; i++) {
        File *f = &e->files[i];
        if (f->partial == NULL)
            continue;
        switch (keeper_state(e->keeper, i, f->item->found_sha256)) {
        case KEPT_RIGHT:
            if (f->n_slot == 0) /* else a slot is still reading the end of an answer */
                TRY(place_file(e, f, err));
            break;
        case KEPT_REOPENED:
            if (f->n_slot > 0)
                break;
            find_free_chunks(f);
            f->state = FILE_OPEN;
            keeper_go_on(e->keeper, i);
            break;
        case KEPT_WRONG:
            return error_set(err, ERR_NETWORK,
                             "%s: the %llu bytes that came do not have the publisher's checksum and were thrown away "
                             "(SHA-256 %.16s..., expected %.16s...); run the command again to fetch them anew",
                             f->item->what, (unsigned long long)f->item->bytes, f->item->found_sha256,
                             f->item->sha256 != NULL ? f->item->sha256 : f->item->git_sha1);
        case KEPT_NOTHING:
        case KEPT_FILLING:
            break;
        }
    }
    return OK;
}

static Status show_progress(Engine *e, Error *err) {
    const uint64_t now = clock_us();
    if (now - e->shown_us < PROGRESS_US)
        return OK;
    e->shown_us = now;
    uint64_t done = 0;
    bool fetching = false;
    for (size_t i = 0; i < e->n_file; i++) {
        File *f = &e->files[i];
        done += f->state == FILE_PLACED ? f->item->bytes
                : f->partial != NULL    ? partial_done_bytes(f->partial)
                                        : f->earlier_bytes;
        fetching = fetching || f->state != FILE_PLACED;
    }
    for (int i = 0; i < e->n_slot; i++) {
        const Slot *s = &e->slots[i];
        if (s->file != NULL && s->digest.state != NULL)
            done += s->stream - (uint64_t)chunk_of(s->stream) * DOWNLOAD_CHUNK_BYTES;
    }
    e->shown_done = MIN(MAX(e->shown_done, done), e->total_bytes); /* bad chunks are not the user's business */
    const bool checking = fetching && e->shown_done == e->total_bytes;
    const bool go_on = checking ? progress_report(e->settings->progress, "checking",
                                                  MIN(keeper_hashed_bytes(e->keeper), e->total_bytes), e->total_bytes)
                                : progress_report(e->settings->progress, "fetching", e->shown_done, e->total_bytes);
    FAIL_IF(!go_on, ERR_CANCELLED, "stopped; what was fetched stays, and the same command goes on from there");
    return OK;
}

/* Until something can happen: a byte, a pause over, a rate limit's next share, a progress bar's next step. */
static int poll_ms(const Engine *e) {
    uint64_t us = PROGRESS_US;
    const uint64_t now = clock_us();
    for (int i = 0; i < e->n_slot; i++) {
        const Slot *s = &e->slots[i];
        const uint64_t wake = MAX(s->wake_us, e->hold_until_us);
        if (!s->retired && !s->running && s->file != NULL)
            us = MIN(us, wake > now ? wake - now : 0);
        if (s->paused)
            us = MIN(us, 10000);
    }
    return (int)(us / 1000) + 1;
}

static Status run(Engine *e, Error *err) {
    while (e->n_placed < e->n_file) {
        TRY(start_slots(e, err));
        int running;
        const CURLMcode code = curl_lib.multi_perform(e->multi, &running);
        FAIL_IF(code != CURLM_OK, code == CURLM_OUT_OF_MEMORY ? ERR_MEMORY : ERR_INTERNAL, "libcurl: %s",
                curl_lib.multi_strerror(code));
        TRY(end_transfers(e, err));
        TRY(end_stalled(e, err));
        refill_allowance(e);
        TRY(look_at_keeper(e, err));
        TRY(show_progress(e, err));
        if (e->n_placed < e->n_file)
            curl_lib.multi_poll(e->multi, NULL, 0, poll_ms(e), NULL);
    }
    return OK;
}

static void wake_up(void *user) {
    Engine *e = user;
    curl_lib.multi_wakeup(e->multi);
}

static Status set_up(Engine *e, Error *err) {
    DownloadJob *job = e->job;
    TRY(curl_library_open(err));
    e->n_slot = MAX(1, MIN(job->connections, (int)DOWNLOAD_MAX_CONNECTIONS));
    e->files = mem_array(job->n_item, sizeof *e->files, MEM_NETWORK);
    e->slots = mem_array((size_t)e->n_slot, sizeof *e->slots, MEM_NETWORK);
    FAIL_IF(e->files == NULL || e->slots == NULL, ERR_MEMORY, "no memory for a download");
    e->n_file = job->n_item;
    for (size_t i = 0; i < e->n_file; i++) {
        File *f = &e->files[i];
        f->item = &job->items[i];
        f->index = i;
        e->total_bytes += f->item->bytes;
        if (f->item->done) {
            f->state = FILE_PLACED;
            e->n_placed++;
        } else {
            f->earlier_bytes =
                partial_peek(job->partial_folder, f->item->identity, f->item->bytes, DOWNLOAD_CHUNK_BYTES);
        }
    }
    e->multi = curl_lib.multi_init();
    FAIL_IF(e->multi == NULL, ERR_MEMORY, "no memory for a download");
    for (int i = 0; i < e->n_slot; i++) {
        e->slots[i].engine = e;
        e->slots[i].easy = curl_lib.easy_init();
        FAIL_IF(e->slots[i].easy == NULL, ERR_MEMORY, "no memory for a download");
    }
    e->allowance_us = clock_us();
    return keeper_open(e->n_file, wake_up, e, &e->keeper, err);
}

static void tear_down(Engine *e) {
    for (int i = 0; e->slots != NULL && i < e->n_slot; i++) {
        Slot *s = &e->slots[i];
        stop_transfer(s);
        digest_drop(&s->digest);
        mem_free(s->url);
        if (s->easy != NULL)
            curl_lib.easy_cleanup(s->easy);
    }
    keeper_close(e->keeper); /* before the Partials that it watches, and before the multi that it wakes */
    for (size_t i = 0; e->files != NULL && i < e->n_file; i++) {
        partial_close(e->files[i].partial);
        mem_free(e->files[i].given);
        mem_free(e->files[i].direct_url);
    }
    if (e->multi != NULL)
        curl_lib.multi_cleanup(e->multi);
    mem_free(e->files);
    mem_free(e->slots);
}

Status download_run(DownloadJob *job, Error *err) {
    Engine e = {.job = job, .settings = job->settings};
    job->received_bytes = 0;
    Status status = set_up(&e, err);
    if (status == OK)
        status = run(&e, err);
    tear_down(&e);
    return status;
}
