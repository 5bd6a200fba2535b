/* blobs.c - HEAD and POST /api/blobs/sha256:...: a file comes as the body, piece by piece, and is put in place when all
 * of it has come and is what its name says. One that does not is gone when its request ends; one of a crash is swept
 * away by the next upload. */
#include "serve/blobs.h"

#include "base/digest.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { STALE_SECONDS = 86400 };

static const uint64_t upload_most = (uint64_t)1 << 40;
static const char part_prefix[] = ".part-";

struct Upload {
    char *folder, *part, *path; /* path: where it belongs */
    char hex[DIGEST_HEX];
    Digest digest;
    int file;
    Status status;
    Error err;
};

static Status read_digest(const char *text, char hex[DIGEST_HEX], Error *err) {
    const bool named = strncasecmp(text, "sha256:", 7) == 0 || strncasecmp(text, "sha256-", 7) == 0;
    uint8_t digest[DIGEST_BYTES];
    FAIL_IF(!named || !digest_unhex(text + 7, digest, sizeof digest), ERR_ARGUMENT,
            "'%.100s': sha256: and 64 digits are expected", text);
    digest_hex(digest, sizeof digest, hex); /* in lower case, whatever it came in */
    return OK;
}

static Status find_path(const ApiCall *call, const char *hex, char **folder, char **path, Error *err) {
    const char *archive = archive_folder(call->server->archive);
    Text name = {0};
    FAIL_IF(archive == NULL, ERR_UNSUPPORTED, "this server keeps nothing on disk (--state-disk 0)");
    text_append_format(&name, "sha256-%s", hex);
    *folder = path_join(archive, "blobs");
    *path = *folder != NULL && !name.failed ? path_join(*folder, name.bytes) : NULL;
    text_free(&name);
    if (*path == NULL) {
        mem_free(*folder);
        *folder = NULL;
    }
    FAIL_IF(*path == NULL, ERR_MEMORY, "no memory for a path");
    return OK;
}

Status blob_path(const ApiCall *call, const char *digest, char **path, Error *err) {
    char hex[DIGEST_HEX], *folder;
    *path = NULL;
    TRY(read_digest(digest, hex, err));
    TRY(find_path(call, hex, &folder, path, err));
    mem_free(folder);
    if (file_exists(*path))
        return OK;
    mem_free(*path);
    *path = NULL;
    return error_set(err, ERR_NOT_FOUND, "the blob sha256:%s is not here; it has to be sent first", hex);
}

static Status reply_empty(ApiCall *call, int status) {
    Text nothing = {0};
    http_reply(call->http, status, NULL, &nothing);
    return OK;
}

Status blob_head(ApiCall *call, Error *err) {
    char *path;
    TRY(blob_path(call, call->rest, &path, err));
    mem_free(path);
    return reply_empty(call, 200);
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

void upload_free(Upload *u) {
    if (u == NULL)
        return;
    digest_drop(&u->digest);
    if (u->file >= 0)
        close(u->file);
    if (u->part != NULL)
        unlink(u->part); /* in place by now, or unwanted */
    mem_free(u->folder);
    mem_free(u->part);
    mem_free(u->path);
    mem_free(u);
}

static bool take(void *user, const char *bytes, size_t count) {
    Upload *u = user;
    digest_add(&u->digest, bytes, count);
    if (u->status == OK)
        u->status = file_write_all(u->file, bytes, count, u->part, &u->err);
    return true; /* what went wrong is told when all has come, so that the client gets to see it */
}

static void sweep(const char *folder) {
    DIR *d = opendir(folder);
    if (d == NULL)
        return;
    for (const struct dirent *e; (e = readdir(d)) != NULL;) {
        char *path = starts_with(e->d_name, part_prefix) ? path_join(folder, e->d_name) : NULL;
        struct stat s;
        if (path != NULL && stat(path, &s) == 0 && time(NULL) - s.st_mtim.tv_sec > STALE_SECONDS)
            unlink(path);
        mem_free(path);
    }
    closedir(d);
}

static Status open_part(ApiCall *call, Upload *u, Error *err) {
    Text name = {0};
    TRY(find_path(call, u->hex, &u->folder, &u->path, err));
    TRY(file_make_directories(u->folder, err));
    sweep(u->folder);
    text_append_format(&name, "%s/%s%d-%llu", u->folder, part_prefix, (int)getpid(), (unsigned long long)call->id);
    u->part = text_take(&name);
    FAIL_IF(u->part == NULL, ERR_MEMORY, "no memory for a path");
    u->file = open(u->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FAIL_IF(u->file < 0, ERR_IO, "%s: %s", u->part, strerror(errno));
    return digest_begin(&u->digest, DIGEST_SHA256, err);
}

Status blob_begin(ApiCall *call, Error *err) {
    Upload *u = mem_zalloc(sizeof *u, MEM_NETWORK);
    FAIL_IF(u == NULL, ERR_MEMORY, "no memory for an upload");
    u->file = -1;
    call->upload = u; /* freed with the call */
    TRY(read_digest(call->rest, u->hex, err));
    TRY(open_part(call, u, err));
    http_take_upload(call->http, upload_most, take, u);
    return OK;
}

Status blob_end(ApiCall *call, Error *err) {
    Upload *u = call->upload;
    char hex[DIGEST_HEX];
    FAIL_IF(u->status != OK, u->status, "%s", u->err.text);
    TRY(digest_end(&u->digest, hex, err));
    if (strcmp(hex, u->hex) != 0) {
        call->code = "digest_mismatch";
        return error_set(err, ERR_ARGUMENT, "what came has the SHA-256 %s, not %s", hex, u->hex);
    }
    FAIL_IF(fsync(u->file) != 0, ERR_IO, "%s: %s", u->part, strerror(errno));
    FAIL_IF(rename(u->part, u->path) != 0, ERR_IO, "%s: %s", u->path, strerror(errno));
    return reply_empty(call, 201);
}
