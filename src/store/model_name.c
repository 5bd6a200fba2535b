/* model_name.c - see model_name.h. No memory is allocated here: names have limits, and what is longer is refused. */
#include "store/model_name.h"

#include "base/file.h"
#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- hub names --------------------------------------------------------------------------------------------------- */

static bool is_alnum(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool part_char(char c) {
    return is_alnum(c) || c == '-' || c == '_' || c == '.';
}

/* An owner or a repository, `count` bytes: becomes part of addresses and of folder names. */
static Status take_part(const char *what, const char *from, size_t count, char to[HUB_PART_BYTES], Error *err) {
    FAIL_IF(count == 0, ERR_ARGUMENT, "the %s is empty; a model is called owner/name", what);
    FAIL_IF(count >= HUB_PART_BYTES, ERR_ARGUMENT, "the %s is longer than %d characters", what, HUB_PART_BYTES - 1);
    for (size_t i = 0; i < count; i++) {
        FAIL_IF(!part_char(from[i]), ERR_ARGUMENT, "the %s %.*s may hold letters, digits, '-', '_' and '.' only", what,
                (int)count, from);
        FAIL_IF(from[i] == '.' && (i == 0 || from[i - 1] == '.'), ERR_ARGUMENT,
                "the %s %.*s must not begin with '.' or hold '..'", what, (int)count, from);
    }
    FAIL_IF(from[0] == '-', ERR_ARGUMENT, "the %s %.*s must not begin with '-'", what, (int)count, from);
    memcpy(to, from, count);
    to[count] = '\0';
    return OK;
}

/* What git allows in the name of a branch or tag, ASCII only. */
static Status take_revision(const char *from, size_t count, char to[HUB_REVISION_BYTES], Error *err) {
    FAIL_IF(count == 0, ERR_ARGUMENT, "a revision is expected after '@'");
    FAIL_IF(count >= HUB_REVISION_BYTES, ERR_ARGUMENT, "the revision is longer than %d characters",
            HUB_REVISION_BYTES - 1);
    memcpy(to, from, count);
    to[count] = '\0';
    bool good = path_is_inside(to) && strstr(to, "..") == NULL && strstr(to, "@{") == NULL;
    for (size_t i = 0; i < count; i++)
        good = good && to[i] > ' ' && to[i] < 0x7F && strchr("~^:?*[\\\"", to[i]) == NULL;
    FAIL_IF(!good, ERR_ARGUMENT, "%s: no name of a revision", to);
    return OK;
}

static Status take_selection(const char *from, size_t count, char to[HUB_SELECTION_BYTES], Error *err) {
    FAIL_IF(count == 0, ERR_ARGUMENT, "a quantisation or a file is expected after ':'");
    FAIL_IF(count >= HUB_SELECTION_BYTES, ERR_ARGUMENT, "the file's name is longer than %d bytes",
            HUB_SELECTION_BYTES - 1);
    memcpy(to, from, count);
    to[count] = '\0';
    bool good = path_is_inside(to) && utf8_valid(to, count);
    for (size_t i = 0; i < count; i++)
        good = good && (unsigned char)to[i] >= ' ' && to[i] != 0x7F;
    FAIL_IF(!good, ERR_ARGUMENT, "%s: neither a quantisation nor a file inside the repository", to);
    return OK;
}

Status model_name_parse(const char *text, ModelName *name, Error *err) {
    *name = (ModelName){0};
    const char *at = starts_with(text, "hf.co/") ? text + 6 : text;
    const char *colon = strchr(at, ':');
    const char *end = colon != NULL ? colon : at + strlen(at);
    const char *sign = memchr(at, '@', (size_t)(end - at));
    const char *base_end = sign != NULL ? sign : end;
    const char *slash = memchr(at, '/', (size_t)(base_end - at));
    FAIL_IF(slash == NULL, ERR_ARGUMENT, "%.100s: a model on the hub is called owner/name", text);
    TRY(take_part("owner", at, (size_t)(slash - at), name->owner, err));
    TRY(take_part("model's name", slash + 1, (size_t)(base_end - slash - 1), name->repo, err));
    if (sign != NULL)
        TRY(take_revision(sign + 1, (size_t)(end - sign - 1), name->revision, err));
    if (colon != NULL)
        TRY(take_selection(colon + 1, strlen(colon + 1), name->selection, err));
    return OK;
}

bool model_name_possible(const char *text) {
    ModelName name;
    return model_name_parse(text, &name, NULL) == OK;
}

/* %41 becomes A; false for a bad escape, a NUL or a result that does not fit. */
static bool unescape(const char *from, size_t count, char *to, size_t capacity) {
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        char c = from[i];
        if (c == '%') {
            static const char digits[] = "0123456789abcdef0123456789ABCDEF";
            const char *high = i + 2 < count && from[i + 1] != '\0' ? strchr(digits, from[i + 1]) : NULL;
            const char *low = high != NULL && from[i + 2] != '\0' ? strchr(digits, from[i + 2]) : NULL;
            if (high == NULL || low == NULL)
                return false;
            c = (char)((high - digits) % 16 * 16 + (low - digits) % 16);
            i += 2;
        }
        if (c == '\0' || n + 1 >= capacity)
            return false;
        to[n++] = c;
    }
    to[n] = '\0';
    return true;
}

Status model_name_of_url(const char *url, const char *endpoint, ModelName *name, Error *err) {
    *name = (ModelName){0};
    const size_t base = strlen(endpoint);
    if (strncasecmp(url, endpoint, base) != 0 || url[base] != '/')
        return ERR_NOT_FOUND;
    /* owner / repo / kind / revision / file; the file may hold more slashes. A query or fragment says nothing here. */
    const char *parts[5] = {0};
    size_t bytes[5] = {0};
    int n = 0;
    const char *at = url + base + 1;
    const size_t whole = strcspn(at, "?#");
    const char *const end = at + whole;
    while (at < end && n < 5) {
        const char *slash = n < 4 ? memchr(at, '/', (size_t)(end - at)) : NULL;
        parts[n] = at;
        bytes[n] = (size_t)((slash != NULL ? slash : end) - at);
        at += bytes[n++] + 1;
    }
    const bool page = n == 2 && !(bytes[1] > 5 && strncasecmp(parts[1] + bytes[1] - 5, ".gguf", 5) == 0);
    const bool tree = n == 4 && bytes[2] == 4 && memcmp(parts[2], "tree", 4) == 0;
    const bool file = n == 5 && ((bytes[2] == 4 && memcmp(parts[2], "blob", 4) == 0) ||
                                 (bytes[2] == 7 && memcmp(parts[2], "resolve", 7) == 0));
    if (!page && !tree && !file)
        return ERR_NOT_FOUND;
    TRY(take_part("owner", parts[0], bytes[0], name->owner, err));
    TRY(take_part("model's name", parts[1], bytes[1], name->repo, err));
    if (tree || file) {
        char revision[HUB_REVISION_BYTES];
        FAIL_IF(!unescape(parts[3], bytes[3], revision, sizeof revision), ERR_ARGUMENT,
                "%.200s: the revision in the address cannot be read", url);
        if (strcmp(revision, "main") != 0)
            TRY(take_revision(revision, strlen(revision), name->revision, err));
    }
    if (file) {
        char path[HUB_SELECTION_BYTES];
        FAIL_IF(!unescape(parts[4], bytes[4], path, sizeof path), ERR_ARGUMENT,
                "%.200s: the file in the address cannot be read", url);
        TRY(take_selection(path, strlen(path), name->selection, err));
    }
    return OK;
}

/* ---- what files are called --------------------------------------------------------------------------------------- */

bool split_of_path(const char *path, SplitName *split) {
    /* "-00002-of-00005" and an extension without a dot inside. */
    const char *dot = strrchr(path, '.');
    enum { MARK = 15 };
    if (dot == NULL || strchr(dot, '/') != NULL || dot - path <= MARK)
        return false;
    const char *mark = dot - MARK;
    if (mark[0] != '-' || memcmp(mark + 6, "-of-", 4) != 0 || mark[-1] == '/')
        return false;
    int numbers[2] = {0};
    for (int i = 0; i < 10; i++) {
        const char c = mark[i < 5 ? 1 + i : 5 + i];
        if (c < '0' || c > '9')
            return false;
        numbers[i / 5] = numbers[i / 5] * 10 + (c - '0');
    }
    if (numbers[0] < 1 || numbers[0] > numbers[1])
        return false;
    *split = (SplitName){.stem_bytes = (size_t)(mark - path), .part = numbers[0], .parts = numbers[1], .tail = dot};
    return true;
}

static char upper(char c) {
    return (char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
}

/* Plain words that are labels in themselves, longest first where one begins like another. */
static const char *const quant_words[] = {"MXFP4_MOE", "MXFP4", "NVFP4", "BF16", "FP16", "FP32", "FP8", "F16", "F32"};

/* Bytes of the label that begins here, 0 = none. It must end where the name's words end. */
static size_t label_here(const char *at, const char *end) {
    const size_t room = (size_t)(end - at);
    for (size_t i = 0; i < COUNT(quant_words); i++) {
        const size_t bytes = strlen(quant_words[i]);
        if (room >= bytes && strncasecmp(at, quant_words[i], bytes) == 0 && (room == bytes || !is_alnum(at[bytes])))
            return bytes;
    }
    const char *p = at;
    if (room > 3 && strncasecmp(p, "UD-", 3) == 0)
        p += 3;
    if (p < end && (upper(*p) == 'I' || upper(*p) == 'T'))
        p++;
    if (end - p < 2 || upper(*p) != 'Q' || p[1] < '1' || p[1] > '9')
        return 0;
    p += 2;
    if (p < end && is_alnum(*p))
        return 0;
    /* "_0", "_K", "_XXS", "_M": short words; a longer one is no part of the label. */
    while (p < end && *p == '_') {
        size_t word = 0;
        while (p + 1 + word < end && is_alnum(p[1 + word]))
            word++;
        if (word == 0 || word > 3)
            break;
        p += 1 + word;
    }
    return (size_t)(p - at);
}

static bool last_label(const char *at, const char *end, char label[QUANT_LABEL_BYTES]) {
    const char *found = NULL;
    size_t found_bytes = 0;
    for (const char *p = at; p < end; p++) {
        if (p > at && is_alnum(p[-1]))
            continue;
        const size_t bytes = label_here(p, end);
        if (bytes == 0 || bytes >= QUANT_LABEL_BYTES)
            continue;
        found = p;
        found_bytes = bytes;
        p += bytes - 1;
    }
    if (found == NULL)
        return false;
    for (size_t i = 0; i < found_bytes; i++)
        label[i] = upper(found[i]);
    label[found_bytes] = '\0';
    if (strcmp(label, "FP16") == 0 || strcmp(label, "FP32") == 0)
        memmove(label + 1, label + 2, strlen(label + 2) + 1);
    return true;
}

bool quant_of_path(const char *path, char label[QUANT_LABEL_BYTES]) {
    label[0] = '\0';
    const char *name = path_name(path);
    SplitName split;
    const char *dot = strrchr(name, '.');
    const char *end = split_of_path(path, &split)                                  ? path + split.stem_bytes
                      : dot != NULL && label_here(dot + 1, dot + strlen(dot)) == 0 ? dot
                                                                                   : name + strlen(name);
    if (last_label(name, end, label))
        return true;
    if (name == path)
        return false;
    const char *folder_end = name - 1;
    const char *folder = folder_end;
    while (folder > path && folder[-1] != '/')
        folder--;
    return last_label(folder, folder_end, label);
}

bool quant_matches(const char *label, const char *wish) {
    return strcasecmp(label, wish) == 0 || (starts_with(label, "UD-") && strcasecmp(label + 3, wish) == 0);
}

/* ---- matching what was typed ------------------------------------------------------------------------------------- */

static bool same_text(const char *a, size_t a_bytes, const char *b, size_t b_bytes) {
    return a_bytes == b_bytes && strncasecmp(a, b, a_bytes) == 0;
}

static size_t without_gguf(const char *base, size_t bytes) {
    return bytes > 5 && strncasecmp(base + bytes - 5, "-gguf", 5) == 0 ? bytes - 5 : bytes;
}

/* 1 .. 4 as the query's base fits the name's base ever more loosely; 0 = not. */
static int match_base(const char *base, size_t bytes, const char *query, size_t query_bytes) {
    if (same_text(base, bytes, query, query_bytes))
        return 1;
    const char *slash = memchr(base, '/', bytes);
    const char *repo = slash != NULL ? slash + 1 : base;
    const size_t repo_bytes = bytes - (size_t)(repo - base);
    if (same_text(repo, repo_bytes, query, query_bytes))
        return 2;
    if (same_text(base, without_gguf(base, bytes), query, query_bytes) ||
        same_text(repo, without_gguf(repo, repo_bytes), query, query_bytes))
        return 3;
    for (int trimmed = 0; trimmed < 2; trimmed++) {
        const size_t whole = trimmed != 0 ? without_gguf(base, bytes) : bytes;
        if (query_bytes > 0 && query_bytes < whole && strchr("/-_.", base[whole - query_bytes - 1]) != NULL &&
            same_text(base + whole - query_bytes, query_bytes, query, query_bytes))
            return 4;
    }
    return 0;
}

int name_match(const char *name, const char *query) {
    const char *name_colon = strrchr(name, ':');
    const char *query_colon = strrchr(query, ':');
    const size_t base_bytes = name_colon != NULL ? (size_t)(name_colon - name) : strlen(name);
    const size_t query_bytes = query_colon != NULL ? (size_t)(query_colon - query) : strlen(query);
    const int base = match_base(name, base_bytes, query, query_bytes);
    if (base == 0)
        return 0;
    int rest = 0; /* the selection: equal, left out, or the same behind "UD-" */
    if (query_colon != NULL) {
        if (name_colon == NULL || !quant_matches(name_colon + 1, query_colon + 1))
            return 0;
        rest = strcasecmp(name_colon + 1, query_colon + 1) == 0 ? 0 : 1;
    } else if (name_colon != NULL) {
        rest = strcmp(name_colon + 1, "latest") == 0 ? 1 : 2;
    }
    return (base - 1) * 3 + rest + 1;
}

int name_distance(const char *a, const char *b, int limit) {
    enum { LONGEST = 96 };
    const size_t n = strlen(a), m = strlen(b);
    if (n > LONGEST || m > LONGEST)
        return limit + 1;
    int rows[3][LONGEST + 1]; /* two rows back are needed for swaps */
    for (size_t j = 0; j <= m; j++)
        rows[0][j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int *row = rows[i % 3];
        const int *above = rows[(i + 2) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            const bool same = upper(a[i - 1]) == upper(b[j - 1]);
            int best = above[j - 1] + (same ? 0 : 1);
            best = MIN(best, above[j] + 1);
            best = MIN(best, row[j - 1] + 1);
            if (i > 1 && j > 1 && upper(a[i - 1]) == upper(b[j - 2]) && upper(a[i - 2]) == upper(b[j - 1]))
                best = MIN(best, above2[j - 2] + 1);
            row[j] = best;
        }
    }
    return MIN(rows[n % 3][m], limit + 1);
}
