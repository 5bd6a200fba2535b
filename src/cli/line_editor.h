/* line_editor.h - entries of a user on a terminal, with editing and a history that lasts. */
#ifndef HOULE_CLI_LINE_EDITOR_H
#define HOULE_CLI_LINE_EDITOR_H

#include "base/text.h"

typedef struct LineEditor LineEditor;

/* One at a time in a process. NULL when the terminal cannot be used. */
LineEditor *line_editor_open(void);
void line_editor_close(LineEditor *editor);

/* The next entry in `text`: a line; several when a line ends with a backslash, or between two """. False at the end of
 * input (Ctrl-D) and without memory. Ctrl-C throws the line away. What is not empty goes to the history. */
bool line_editor_read(LineEditor *editor, Text *text);

#endif
