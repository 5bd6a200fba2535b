/* line_editor.c - see line_editor.h; libedit does the work. Apart from the chat because its header uses names of ours. */
#include "cli/line_editor.h"

#include "base/file.h"

#include <histedit.h>
#include <stdio.h>
#include <string.h>

struct LineEditor {
    EditLine *lines;
    History *history;
    char *history_path; /* NULL: nowhere */
    bool more; /* the entry goes on: another prompt is shown */
};

static LineEditor *current; /* libedit's callbacks get no pointer of ours that is worth the name */

static char *prompt_words(EditLine *lines) {
    (void)lines;
    static char first[] = ">>> ", next[] = "... ";
    return current != NULL && current->more ? next : first;
}

/* Ctrl-C in a line: the line is thrown away. */
static unsigned char throw_away(EditLine *lines, int key) {
    (void)key;
    const LineInfo *line = el_line(lines);
    el_cursor(lines, (int)(line->lastchar - line->cursor));
    el_deletestr(lines, (int)(line->lastchar - line->buffer));
    return CC_REFRESH;
}

static void history_open(LineEditor *l) {
    HistEvent event;
    char *folder;
    l->history = history_init();
    if (l->history == NULL)
        return;
    history(l->history, &event, H_SETSIZE, 1000);
    history(l->history, &event, H_SETUNIQUE, 1);
    el_set(l->lines, EL_HIST, history, l->history);
    (void)home_folder("XDG_STATE_HOME", ".local/state", &folder);
    if (folder != NULL && file_make_directories(folder, NULL) == OK)
        l->history_path = path_join(folder, "history");
    mem_free(folder);
    if (l->history_path != NULL)
        history(l->history, &event, H_LOAD, l->history_path);
}

void line_editor_close(LineEditor *l) {
    HistEvent event;
    if (l == NULL)
        return;
    if (l->history != NULL) {
        if (l->history_path != NULL)
            history(l->history, &event, H_SAVE, l->history_path);
        history_end(l->history);
    }
    if (l->lines != NULL)
        el_end(l->lines);
    mem_free(l->history_path);
    mem_free(l);
    current = NULL;
}

LineEditor *line_editor_open(void) {
    LineEditor *l = mem_zalloc(sizeof *l, MEM_MISC);
    if (l == NULL)
        return NULL;
    l->lines = el_init("houle", stdin, stdout, stderr);
    if (l->lines == NULL) {
        mem_free(l);
        return NULL;
    }
    current = l;
    el_set(l->lines, EL_EDITOR, "emacs");
    el_set(l->lines, EL_PROMPT, prompt_words);
    el_set(l->lines, EL_ADDFN, "throw-away", "Throw the line away", throw_away);
    el_set(l->lines, EL_SETTY, "-d", "-isig", NULL); /* while a line is edited, ^C is a key */
    el_set(l->lines, EL_BIND, "^C", "throw-away", NULL);
    history_open(l);
    el_source(l->lines, NULL);
    return l;
}

/* One line without its newline, appended; false at the end of input. */
static bool read_line(LineEditor *l, Text *text) {
    int count = 0;
    const char *line = el_gets(l->lines, &count);
    if (line == NULL || count <= 0)
        return false;
    while (count > 0 && (line[count - 1] == '\n' || line[count - 1] == '\r'))
        count--;
    return text_append(text, line, (size_t)count);
}

bool line_editor_read(LineEditor *l, Text *text) {
    static const char fence[] = "\"\"\"";
    text_clear(text);
    l->more = false;
    if (!read_line(l, text))
        return false;
    if (text->count >= 3 && memcmp(text->bytes, fence, 3) == 0) {
        l->more = true;
        memmove(text->bytes, text->bytes + 3, text->count - 2);
        text->count -= 3;
        while (text->count < 3 || memcmp(text->bytes + text->count - 3, fence, 3) != 0) {
            text_append_char(text, '\n');
            if (!read_line(l, text))
                return false;
        }
        text->count -= 3;
        text->bytes[text->count] = '\0';
    }
    while (text->count > 0 && text->bytes[text->count - 1] == '\\') {
        l->more = true;
        text->bytes[text->count - 1] = '\n';
        if (!read_line(l, text))
            return false;
    }
    l->more = false;
    HistEvent event;
    if (l->history != NULL && text->count > 0)
        history(l->history, &event, H_ENTER, text->bytes);
    return !text->failed;
}
