/* jinja_lexer.h - template text to tokens, with Jinja's white-space rules: trim_blocks, lstrip_blocks, "-" and "+"
 * signs, "\r\n" and "\r" read as "\n", one newline at the end dropped. */
#ifndef HOULE_TEXT_JINJA_LEXER_H
#define HOULE_TEXT_JINJA_LEXER_H

#include "text/jinja.h"

typedef enum TokenKind {
    T_END,
    T_DATA,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_PRINT_BEGIN,
    T_PRINT_END,
    T_NAME,
    T_STRING,
    T_INTEGER, /* the text is digits, without prefix and underscores; `base` */
    T_FLOAT,
    T_ADD,
    T_SUB,
    T_MUL,
    T_POW,
    T_DIV,
    T_FLOORDIV,
    T_MOD,
    T_TILDE,
    T_LPAREN,
    T_RPAREN,
    T_LBRACKET,
    T_RBRACKET,
    T_LBRACE,
    T_RBRACE,
    T_EQ,
    T_NE,
    T_LT,
    T_LE,
    T_GT,
    T_GE,
    T_ASSIGN,
    T_DOT,
    T_COLON,
    T_PIPE,
    T_COMMA,
    T_SEMICOLON,
} TokenKind;

typedef struct Token {
    TokenKind kind;
    int line;
    int base;
    Value text; /* of names, strings (unescaped), numbers, data */
} Token;

enum { LEXER_MAX_BRACKETS = 200 };

typedef struct Lexer {
    Arena *arena; /* for what cannot be a slice of the source */
    Error *err;
    const char *source; /* normalised, in the arena */
    size_t bytes;
    size_t at;
    size_t counted; /* newlines before this byte are in `line` */
    int line;
    enum { LEX_TEXT, LEX_BLOCK, LEX_PRINT } mode;
    bool line_starting;    /* the last match ended with a newline */
    bool pending;          /* the tag that followed the data just given */
    Token pending_token;
    char brackets[LEXER_MAX_BRACKETS]; /* the closing ones expected */
    int bracket_count;
} Lexer;

/* `text` must be valid UTF-8; it is copied. */
Status lexer_open(Lexer *lexer, Arena *arena, const char *text, size_t bytes, Error *err);
Status lexer_next(Lexer *lexer, Token *token);
/* For messages: "end of template", "','", the name itself. */
const char *token_words(const Token *token, char buffer[64]);

#endif
