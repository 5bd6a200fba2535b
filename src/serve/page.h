/* page.h - the files of the page at "/", which the program carries: src/serve/page, made into C by script/embed_page. */
#ifndef HOULE_SERVE_PAGE_H
#define HOULE_SERVE_PAGE_H

#include <stddef.h>

typedef struct PageFile {
    const char *name; /* "index.html": without a folder */
    const char *type; /* for Content-Type */
    const char *tag;  /* for ETag, quotes included */
    const unsigned char *bytes;
    size_t count;
} PageFile;

extern const PageFile page_files[];
extern const size_t page_file_count;

#endif
