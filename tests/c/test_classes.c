/* SPDX-License-Identifier: Apache-2.0 */
#include "host/classes.h"
#include "test.h"

static void class_of__the_first_levels_have_one_each(void)
{
    static const struct {
        unsigned level, classes, expected;
    } rows[] = {
        {0, 1, 0}, {8, 1, 0}, {0, 2, 0}, {1, 2, 1}, {7, 2, 1}, {0, 3, 0},
        {1, 3, 1}, {2, 3, 2}, {7, 3, 2}, {8, 3, 2}, {7, 8, 7}, {8, 8, 7},
    };

    for (size_t i = 0; i < COUNT(rows); i++)
        CHECK_EQ_AT(mfs_class_of(rows[i].level, rows[i].classes), rows[i].expected, i);
}

static void parse__what_is_a_list(void)
{
    struct mfs_classes classes;

    CHECK_EQ(mfs_classes_parse("", &classes), 0);
    CHECK_EQ(classes.count, 0);
    CHECK_EQ(mfs_classes_parse("26", &classes), 0);
    CHECK(classes.count == 1 && classes.dscp[0] == 26);
    CHECK_EQ(mfs_classes_parse("46, 26 ,0", &classes), 0);
    CHECK(classes.count == 3 && classes.dscp[0] == 46 && classes.dscp[1] == 26);
    CHECK(classes.dscp[2] == 0);
    CHECK_EQ(mfs_classes_parse("63,62,61,60,59,58,57,56", &classes), 0);
    CHECK_EQ(classes.count, 8);
}

static void parse__what_is_none_changes_nothing(void)
{
    static const char *const texts[] = {
        "64",
        "46,64",
        "-1",
        "+1",
        "ef",
        "46;26",
        "46,",
        ",46",
        "46,,26",
        "46 26",
        " ",
        "0x2e",
        "99999999999999999999",
        "1,2,3,4,5,6,7,8,9",
    };
    struct mfs_classes classes = {.count = 2, .dscp = {1, 2}};

    for (size_t i = 0; i < COUNT(texts); i++) {
        CHECK_EQ_AT(mfs_classes_parse(texts[i], &classes), -EINVAL, i);
        CHECK(classes.count == 2 && classes.dscp[0] == 1 && classes.dscp[1] == 2);
    }
}

static void get__a_bad_value_is_none(void)
{
    setenv("MFS_CLASSES", "46,100", 1);
    setenv("MFS_LOG", "0", 1);
    CHECK_EQ(mfs_classes_get()->count, 0);
}

static void get__the_own_ones(void)
{
    setenv("MFS_CLASSES", "46,0", 1);
    CHECK_EQ(mfs_classes_get()->count, 2);
    CHECK_EQ(mfs_classes_get()->dscp[0], 46);
}

static const struct test tests[] = {
    TEST(class_of__the_first_levels_have_one_each),
    TEST(parse__what_is_a_list),
    TEST(parse__what_is_none_changes_nothing),
    TEST(get__a_bad_value_is_none),
    TEST(get__the_own_ones),
};

TEST_MAIN(tests)
