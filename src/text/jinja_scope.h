/* jinja_scope.h - the places of variables, found once while compiling. */
#ifndef HOULE_TEXT_JINJA_SCOPE_H
#define HOULE_TEXT_JINJA_SCOPE_H

#include "text/jinja_ast.h"

/* Gives every name in the tree its place and every scope its loads; collects the blocks; refuses what can be known to
 * be wrong (unknown filters, break outside of loops, ...). */
Status scope_resolve(Jinja *j, Program *program, const Body *body);

#endif
