/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Words of heroctl run and of what says what runs; nothing here needs a bus. */

#include "basic/macro.h"

/* What --entrypoint means: a word, none (""), or a JSON array of words. -EINVAL: neither. */
int entrypoint_parse(const char *s, char ***ret);

/* A name for a VM of this image: "registry.example:5000/team/App_1:2" → "app-1-3fa9c1", the last six digits of number. */
char *vm_name_make(const char *image, uint32_t number);

/* Programs that have to be the first process of their machine; hero-computed has the same list. */
bool is_init(const char *program);

/* What runs: of the image, or as given. An entrypoint that is given (not NULL) goes without the image's arguments; given
 * and image_arguments may be NULL. Empty: *ret is NULL. */
int command_compose(const char *entrypoint, char *const *image_entrypoint, char *const *given,
                    char *const *image_arguments, char ***ret);
