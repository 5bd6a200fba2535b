/* pull.c - see pull.h. Decides which of the three ways a model comes, and sets up what they share. */
#include "store/pull.h"

#include "base/file.h"
#include "base/mem.h"
#include "store/held_signals.h"
#include "store/hub.h"
#include "store/pull_work.h"

#include <stdlib.h>
#include <string.h>

static bool is_url(const char *what) {
    return starts_with(what, "http://") || starts_with(what, "https://");
}

/* A name of the hub is one even if there is a folder of that name here: a path is told by how it begins. */
static bool is_path(const Pull *pull) {
    const char *what = pull->request->what;
    if (what[0] == '/' || starts_with(what, "./") || starts_with(what, "../") || strcmp(what, ".") == 0 ||
        strcmp(what, "..") == 0)
        return true;
    const StoreModel *model;
    return !model_name_possible(what) && file_exists(what) && store_find(&pull->here, what, &model, NULL) != OK;
}

static Status pull_any(Pull *pull, Error *err) {
    const PullRequest *request = pull->request;
    TRY(store_work_open(&pull->work, err));
    TRY(store_work_list(&pull->work, &pull->here, err));
    if (is_path(pull))
        return pull_path(pull, err);
    FAIL_IF(request->copy, ERR_ARGUMENT, "%s: --copy is for files and folders on this machine", request->what);
    TRY(curl_library_open(err));
    TRY(hub_check_endpoint(pull->settings.endpoint, err));
    if (!is_url(request->what))
        return pull_hub(pull, err);
    ModelName name;
    const Status status = model_name_of_url(request->what, pull->settings.endpoint, &name, err);
    if (status == ERR_NOT_FOUND)
        return pull_url(pull, err);
    return status == OK ? pull_hub(pull, err) : status;
}

static void set_up(Pull *pull, const PullRequest *request, PullResult *result, char *endpoint) {
    *pull = (Pull){.request = request, .result = result, .lock = {.fd = -1}, .others = "", .page = NULL};
    const char *token = request->token != NULL ? request->token : getenv("HF_TOKEN");
    fetch_settings_init(&pull->settings, endpoint, token);
    pull->settings.progress = request->progress;
    pull->settings.notice = request->notice;
    pull->settings.notice_user = request->notice_user;
    pull->work.models_fd = pull->work.partial_fd = -1;
    pull->model = store_model_empty();
    pull->needs.context = 0;
    arena_init(&pull->arena, MEM_NETWORK);
    store_list_init(&pull->here);
    store_list_init(&pull->superseded);
    store_list_init(&pull->foreign);
}

static void tear_down(Pull *pull) {
    store_work_unlock(&pull->work, &pull->lock);
    store_work_close(&pull->work);
    store_list_free(&pull->here);
    store_list_free(&pull->superseded);
    store_list_free(&pull->foreign);
    arena_free(&pull->arena);
}

Status store_pull(const PullRequest *request, PullResult *result, Error *err) {
    *result = (PullResult){0};
    FAIL_IF(*request->what == '\0', ERR_ARGUMENT, "the name of the model is empty");
    char *endpoint = hub_endpoint(request->endpoint);
    FAIL_IF(endpoint == NULL, ERR_MEMORY, "no memory for an address");
    Pull pull;
    HeldSignals signals;
    hold_signals(&signals);
    set_up(&pull, request, result, endpoint);
    const Status status = pull_any(&pull, err);
    tear_down(&pull);
    release_signals(&signals);
    mem_free(endpoint);
    if (status != OK)
        pull_result_free(result);
    return status;
}

void pull_result_free(PullResult *result) {
    mem_free(result->name);
    mem_free(result->path);
    *result = (PullResult){0};
}
