/* grammar_mask.h - which tokens a state allows. */
#ifndef HOULE_TEXT_GRAMMAR_MASK_H
#define HOULE_TEXT_GRAMMAR_MASK_H

#include "text/grammar_steps.h"
#include "text/grammar_vocab.h"

/* Writes the bits of the tokens that `state` allows (not of end tokens). Failures are those of the Steps. */
Status mask_write(Steps *steps, const GrammarVocab *vocab, uint32_t state, uint32_t *bits, Error *err);

#endif
