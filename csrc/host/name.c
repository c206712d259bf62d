/* SPDX-License-Identifier: Apache-2.0 */
#include "host/name.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* The character that `at` begins with, `left` bytes being there: its bytes; 0: it is none. */
static size_t character(const unsigned char *at, size_t left, uint32_t *code)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t size = *at < 0x80 ? 1 : *at < 0xc2 ? 0 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;

    if (size == 0 || *at > 0xf4 || size > left)
        return 0;
    *code = size == 1 ? *at : *at & (0xffu >> (size + 1));
    for (size_t i = 1; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        *code = *code << 6 | (at[i] & 0x3f);
    }
    return *code < least[size] || *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000) ? 0
                                                                                          : size;
}

/* It moves the cursor, ends a line, or turns the direction of writing. */
static bool controls(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x200e || code == 0x200f ||
           (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

void mfs_name_clean(char *to, size_t size, const char *from, size_t from_size)
{
    const size_t length = strnlen(from, from_size);
    size_t written = 0;

    for (size_t read = 0; read < length && written + 1 < size;) {
        uint32_t code = 0;
        const size_t bytes = character((const unsigned char *)from + read, length - read, &code);

        if (bytes == 0 || controls(code)) {
            to[written++] = '?';
        } else if (written + bytes < size) {
            memmove(to + written, from + read, bytes);
            written += bytes;
        } else {
            break;
        }
        read += bytes > 0 ? bytes : 1;
    }
    to[written] = '\0';
}
