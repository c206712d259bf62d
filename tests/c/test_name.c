/* SPDX-License-Identifier: Apache-2.0 */
#include "host/name.h"
#include "test.h"

static void clean__text_stays_the_rest_does_not(void)
{
    static const struct {
        const char *from, *to;
    } rows[] = {
        {"", ""},
        {"cmpl-17 (\xc3\xa9, \xe2\x82\xac, \xf0\x9f\x9a\x82)",
         "cmpl-17 (\xc3\xa9, \xe2\x82\xac, \xf0\x9f\x9a\x82)"},
        {"\x1b[2J\a\n\x7f", "?[2J???"},
        {"a\xc2\x9b"
         "b",
         "a?b"},                      /* U+009B, an escape of 8 bits */
        {"a\xe2\x80\xae"
         "b\xe2\x81\xa6",
         "a?b?"},     /* they turn the direction of writing */
        {"\xff\xfe", "??"},
        {"\xc0\xaf\xe0\x80\xaf", "?????"},             /* '/' in more bytes than it needs */
        {"\xed\xa0\x80", "???"},                       /* a surrogate */
        {"\xf4\x90\x80\x80", "????"},                  /* behind U+10FFFF */
        {"a\xe2\x82", "a??"},                          /* the end is missing */
        {"\xe2\x82x", "??x"},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        char to[64];

        mfs_name_clean(to, sizeof(to), rows[i].from, strlen(rows[i].from));
        if (strcmp(to, rows[i].to) != 0)
            FAIL("row %zu: %s", i, to);
    }
}

static void clean__ends_within_its_room(void)
{
    char to[8] = "1234567", same[] = "\xc3\xa9\x1b\xc3\xa9";

    mfs_name_clean(to, 4, "abcdef", 6);
    CHECK(memcmp(to,
                 "abc\0"
                 "567",
                 8) == 0);
    mfs_name_clean(to, 4, "ab\xe2\x82\xac", 5); /* a character is not cut in two */
    CHECK(strcmp(to, "ab") == 0);
    mfs_name_clean(to, sizeof(to), "abcdef", 2); /* no NUL is there to end it */
    CHECK(strcmp(to, "ab") == 0);
    mfs_name_clean(to, 1, "abc", 3);
    CHECK(to[0] == '\0');
    mfs_name_clean(same, sizeof(same), same, sizeof(same));
    CHECK(strcmp(same, "\xc3\xa9?\xc3\xa9") == 0);
}

static const struct test tests[] = {
    TEST(clean__text_stays_the_rest_does_not),
    TEST(clean__ends_within_its_room),
};

TEST_MAIN(tests)
