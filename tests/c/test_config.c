/* SPDX-License-Identifier: Apache-2.0 */
#include "host/config.h"

#include "host.h"

static void get__defaults(void)
{
    const struct mfs_config *config = mfs_config_get();

    CHECK(!config->enable && strcmp(config->policy, "mfs") == 0 && *config->segment == '\0');
    CHECK_EQ(config->nccl_channels, 1);
    CHECK_EQ(config->nccl_eager, 8192);
    CHECK_EQ(config->chunk, 0);
    CHECK_EQ(config->small, 8192);
    CHECK_EQ(config->window_time, 2000000);
    CHECK_EQ(config->untagged_share, 50);
    CHECK_EQ(config->lease, 20000000);
}

static void get__from_the_environment(void)
{
    const struct mfs_config *config;

    setenv("MFS_ENABLE", "Yes", 1);
    setenv("MFS_POLICY", "edf", 1);
    setenv("MFS_LEASE", "1.5ms", 1);
    setenv("MFS_WINDOW", "1G", 1);
    setenv("MFS_PORT_RATE", "100Gbit", 1);
    setenv("MFS_PACE", "12345", 1);
    setenv("MFS_NCCL_CHANNELS", "", 1); /* as if unset */
    config = mfs_config_get();
    setenv("MFS_POLICY", "fifo", 1); /* too late */
    CHECK(config->enable && strcmp(config->policy, "edf") == 0);
    CHECK_EQ(config->lease, 1500000);
    CHECK_EQ(config->window, 1 << 30);
    CHECK_EQ(config->port_rate, INT64_C(12500000000));
    CHECK_EQ(config->pace, 12345);
    CHECK_EQ(config->nccl_channels, 1);
}

static void look(void)
{
    (void)mfs_config_get();
    (void)mfs_config_get();
}

static void get__says_what_is_wrong_once(void)
{
    const char *text;

    setenv("MFS_POLICY", "fastest", 1);
    setenv("MFS_NCCL_CHANNELS", "9", 1);
    setenv("MFS_LESE", "5ms", 1);
    text = stderr_of(look);
    CHECK(strstr(text, "MFS_POLICY=fastest: one of off, fifo,") != NULL);
    CHECK(strstr(text, "MFS_NCCL_CHANNELS=9: must lie between 1 and 8; the default is used") !=
          NULL);
    CHECK(strstr(text, "MFS_LESE") != NULL && strstr(text, "did you mean MFS_LEASE?") != NULL);
    CHECK(strstr(strstr(text, "MFS_LESE") + 1, "MFS_LESE") == NULL);
    CHECK(strcmp(mfs_config_get()->policy, "mfs") == 0);
    CHECK_EQ(mfs_config_get()->nccl_channels, 1);
}

static void get__can_be_silent(void)
{
    setenv("MFS_LOG", "0", 1);
    setenv("MFS_NCCL_CHANNELS", "many", 1);
    CHECK(*stderr_of(look) == '\0');
}

static void check__table(void)
{
    static const struct {
        const char *name, *value;
        int result;
        const char *message;
    } rows[] = {
        {"MFS_NOTHING", "1", -ENOENT, NULL},
        {"MFS_ENABLE", "maybe", -EINVAL, "MFS_ENABLE=maybe: 0, 1, yes, no, on or off is expected"},
        {"MFS_ENABLE", "off", 0, NULL},
        {"MFS_NCCL_CHANNELS", "1", 0, NULL},
        {"MFS_NCCL_CHANNELS", "8", 0, NULL},
        {"MFS_NCCL_CHANNELS", "9", -EINVAL, "between 1 and 8"},
        {"MFS_NCCL_CHANNELS", "-3", -EINVAL, "a whole number"},
        {"MFS_NCCL_CHANNELS", "8k", -EINVAL, "a whole number"},
        {"MFS_NCCL_CHANNELS", "2.5", -EINVAL, "a whole number"},
        {"MFS_NCCL_CHANNELS", "0x8", -EINVAL, "a whole number"},
        {"MFS_LEASE", "5", -EINVAL, "ns, us, ms or s"},
        {"MFS_LEASE", "5s", 0, NULL},
        {"MFS_LEASE", "0", -EINVAL, "between"},
        {"MFS_LEASE", "1e400s", -EINVAL, "ns, us, ms or s"},
        {"MFS_WINDOW", "64K", 0, NULL},
        {"MFS_WINDOW", "1t", -EINVAL, "k, m or g"},
        {"MFS_WINDOW", "1025g", -EINVAL, "between"},
        {"MFS_PORT_RATE", "25gbit", 0, NULL},
        {"MFS_PORT_RATE", "0", 0, NULL},
        {"MFS_PORT_RATE", "nan", -EINVAL, "kbit, mbit, gbit"},
        {"MFS_POLICY", "fifo", 0, NULL},
        {"MFS_POLICY", "none", -EINVAL, "one of off, fifo,"},
        {"MFS_PORT", "anything", 0, NULL},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        char message[256] = "";

        CHECK_EQ_AT(mfs_config_check(rows[i].name, rows[i].value, message, sizeof(message)),
                    rows[i].result, i);
        if (rows[i].message && !strstr(message, rows[i].message))
            FAIL("row %zu: \"%s\" is not in \"%s\"", i, rows[i].message, message);
    }
}

static void number__of_every_type(void)
{
    static const struct {
        const char *name, *value;
        int result;
        uint64_t number;
    } rows[] = {
        {"MFS_ENABLE", "yes", 0, 1},         {"MFS_ENABLE", "off", 0, 0},
        {"MFS_NCCL_CHANNELS", "4", 0, 4},    {"MFS_WINDOW", "64k", 0, 65536},
        {"MFS_PORT_RATE", "8kbit", 0, 1000}, {"MFS_LEASE", "2ms", 0, 2000000},
        {"MFS_TEST_NCCL_FLUSH", "y", 0, 1},  {"MFS_ENABLE", "maybe", -EINVAL, 77},
        {"MFS_PORT", "1", -EINVAL, 77},      {"MFS_NOTHING", "1", -ENOENT, 77},
    };

    for (size_t i = 0; i < COUNT(rows); i++) {
        uint64_t number = 77;

        CHECK_EQ_AT(mfs_config_number(rows[i].name, rows[i].value, &number), rows[i].result, i);
        CHECK_EQ_AT(number, rows[i].number, i);
    }
}

static void set_gone(void)
{
    setenv("MFS_NCCL_FLUSH", "1", 1);
    setenv("MFS_NCCL_P2P_STAGE", "p2d", 1);
    setenv("MFS_TEST_NCCL_FLUSH", "1", 1);
    setenv("MFS_VLLM_VENV", "/somewhere", 1);
    (void)mfs_config_get();
}

static void get__says_of_what_is_gone_what_to_do(void)
{
    const char *said = stderr_of(set_gone);

    CHECK(strstr(said, "MFS_NCCL_FLUSH is gone and is ignored: it was for tests") != NULL);
    CHECK(strstr(said, "MFS_NCCL_P2P_STAGE is gone and is ignored: write p2p:STAGE into "
                       "MFS_NCCL_STAGES") != NULL);
    CHECK(!strstr(said, "did you mean") && !strstr(said, "MFS_VLLM_VENV"));
    CHECK(mfs_config_get()->nccl_flush);
    CHECK(mfs_config_gone("MFS_NCCL_FLUSH") && !mfs_config_gone("MFS_POLICY"));
}

static void entry_at__hooks_of_tests_are_not_shown(void)
{
    const struct mfs_config_entry *entry;

    for (size_t i = 0; (entry = mfs_config_entry_at(i)) != NULL; i++)
        CHECK(strncmp(entry->name, "MFS_TEST_", 9) != 0);
}

static void set_long(void)
{
    static char value[5000];

    memset(value, 'x', sizeof(value) - 1);
    setenv("MFS_NCCL_CHANNELS", value, 1);
    setenv("MFS_POLICY", value, 1);
    (void)mfs_config_get();
}

static void get__says_what_is_allowed_also_of_a_long_value(void)
{
    const char *said = stderr_of(set_long);

    CHECK(strstr(said, "a whole number is expected; the default is used") != NULL);
    CHECK(strstr(said, "one of off, fifo,") != NULL);
}

static void of_tools__neither_ours_nor_a_mistake(void)
{
    CHECK(mfs_config_of_tools("MFS_PYTHON") && mfs_config_of_tools("MFS_BENCH_ADDRESS"));
    CHECK(!mfs_config_of_tools("MFS_POLICY") && !mfs_config_of_tools("MFS_PYTHONS"));
}

static void set_tools(void)
{
    setenv("MFS_PYTHON", "python3.12", 1);
    setenv("MFS_POLCY", "edf", 1);
    (void)mfs_config_get();
}

static void get__is_silent_about_the_tools(void)
{
    const char *said = stderr_of(set_tools);

    CHECK(strstr(said, "MFS_POLCY") && !strstr(said, "MFS_PYTHON"));
}

static void entry_at__every_default_is_right(void)
{
    const struct mfs_config_entry *entry;
    char message[256];
    size_t count = 0;

    for (; (entry = mfs_config_entry_at(count)) != NULL; count++) {
        CHECK(strncmp(entry->name, "MFS_", 4) == 0 && strlen(entry->help) > 10);
        if (mfs_config_check(entry->name, entry->def, message, sizeof(message)) != 0)
            FAIL("%s", message);
    }
    CHECK(count > 15);
}

static const struct test tests[] = {
    TEST(get__defaults),
    TEST(get__from_the_environment),
    TEST(get__says_what_is_wrong_once),
    TEST(get__can_be_silent),
    TEST(check__table),
    TEST(number__of_every_type),
    TEST(get__says_of_what_is_gone_what_to_do),
    TEST(get__says_what_is_allowed_also_of_a_long_value),
    TEST(entry_at__hooks_of_tests_are_not_shown),
    TEST(of_tools__neither_ours_nor_a_mistake),
    TEST(get__is_silent_about_the_tools),
    TEST(entry_at__every_default_is_right),
};

TEST_MAIN(tests)
