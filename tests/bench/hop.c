/* The bare hop over a broker, through libmosquitto. See hop.py, which does the same with paho.
 *
 *     hop publish PORT TOPIC COUNT PAUSE_NS     a stamp (monotonic ns) as payload, QoS 0
 *     hop listen PORT FILTER COUNT PAUSE_NS     prints `ready`, then the ages of the stamps it saw, as JSON
 */
#include <mosquitto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SILENCE = 3 }; /* s; then whatever is missing does not come any more */

static long *ages;
static int wanted, seen;
static long latest;

static long now(void) {
    struct timespec clock;
    clock_gettime(CLOCK_MONOTONIC, &clock);
    return clock.tv_sec * 1000000000L + clock.tv_nsec;
}

static void take(const char *text, long received) {
    long stamp = strtol(text, NULL, 10);
    if (stamp > 0 && seen < wanted)
        ages[seen++] = received - stamp;
}

static void on_message(struct mosquitto *client, void *context, const struct mosquitto_message *message) {
    static const char key[] = "\"value\":";
    long received = now();
    (void)client;
    (void)context;
    if (message->retain || message->payloadlen == 0)
        return;
    latest = received;
    char *text = strndup(message->payload, message->payloadlen);
    const char *found = strstr(text, key);
    if (found == NULL)
        take(text, received);
    for (; found != NULL; found = strstr(found + 1, key))
        take(found + sizeof key - 1, received);
    free(text);
}

static void on_subscribe(struct mosquitto *client, void *context, int mid, int count, const int *granted) {
    (void)client, (void)context, (void)mid, (void)count, (void)granted;
    puts("ready");
    fflush(stdout);
}

static int ascending(const void *left, const void *right) {
    long difference = *(const long *)left - *(const long *)right;
    return (difference > 0) - (difference < 0);
}

static int listen_(struct mosquitto *client, const char *filter) {
    ages = calloc(wanted, sizeof *ages);
    mosquitto_message_callback_set(client, on_message);
    mosquitto_subscribe_callback_set(client, on_subscribe);
    mosquitto_subscribe(client, NULL, filter, 0);
    while (seen < wanted && (seen == 0 || now() - latest < SILENCE * 1000000000L))
        if (mosquitto_loop(client, 100, 1) != MOSQ_ERR_SUCCESS)
            return 1;
    qsort(ages, seen, sizeof *ages, ascending);
    printf("{\"seen\": %d, \"p50\": %ld, \"p99\": %ld}\n", seen, ages[seen / 2], ages[(long)seen * 99 / 100]);
    return 0;
}

static int publish(struct mosquitto *client, const char *topic, long pause) {
    long due = now();
    char text[32];
    for (int count = 0; count < wanted; count++, due += pause) {
        struct timespec until = {due / 1000000000L, due % 1000000000L};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
        int length = snprintf(text, sizeof text, "%ld", now());
        if (mosquitto_publish(client, NULL, topic, length, text, 0, false) != MOSQ_ERR_SUCCESS)
            return 1;
    }
    puts("{}");
    return mosquitto_disconnect(client);
}

int main(int count, char **arguments) {
    if (count != 6)
        return 2;
    mosquitto_lib_init();
    struct mosquitto *client = mosquitto_new(NULL, true, NULL);
    wanted = atoi(arguments[4]);
    mosquitto_int_option(client, MOSQ_OPT_TCP_NODELAY, 1);
    if (wanted < 1 || mosquitto_connect(client, "127.0.0.1", atoi(arguments[2]), 60) != MOSQ_ERR_SUCCESS)
        return 1;
    if (strcmp(arguments[1], "listen") == 0)
        return listen_(client, arguments[3]);
    return publish(client, arguments[3], atol(arguments[5]));
}
