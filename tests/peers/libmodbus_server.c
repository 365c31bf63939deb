/* A Modbus server made of libmodbus: `libmodbus_server tcp 0` (prints its port) or `libmodbus_server rtu PATH`. Unit 17.
 * Registers 0 to 7 hold the float 123456.0, whose bytes from the highest are A B C D, as ABCD, DCBA, BADC and CDAB;
 * register n from 100 on holds n. (modbus_set_float_abcd and its like are not used: in 3.1.6 they swap the bytes.) */
#include <arpa/inet.h>
#include <modbus/modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void put(uint16_t *registers, float value, const char *order)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    for (int n = 0; n < 2; n++) {
        uint8_t high = bits >> (8 * ('D' - order[2 * n])), low = bits >> (8 * ('D' - order[2 * n + 1]));
        registers[n] = high << 8 | low;
    }
}

static modbus_mapping_t *filled(void)
{
    modbus_mapping_t *map = modbus_mapping_new(500, 500, 500, 500);
    const char *orders[] = {"ABCD", "DCBA", "BADC", "CDAB"};
    for (int n = 0; n < 4; n++)
        put(map->tab_registers + 2 * n, 123456.0f, orders[n]);
    for (int n = 100; n < 500; n++) {
        map->tab_registers[n] = map->tab_input_registers[n] = n;
        map->tab_bits[n] = map->tab_input_bits[n] = n % 3 == 0;
    }
    return map;
}

static void serve(modbus_t *ctx, modbus_mapping_t *map, int rtu)
{
    uint8_t query[MODBUS_MAX_ADU_LENGTH];
    for (;;) {
        int length = modbus_receive(ctx, query);
        if (length > 0)
            modbus_reply(ctx, query, length, map);
        else if (length < 0 && !rtu)
            return;
    }
}

int main(int argc, char **argv)
{
    int rtu = argc > 2 && strcmp(argv[1], "rtu") == 0;
    if (argc < 3)
        return 2;
    modbus_mapping_t *map = filled();
    modbus_t *ctx = rtu ? modbus_new_rtu(argv[2], 115200, 'N', 8, 1) : modbus_new_tcp("127.0.0.1", atoi(argv[2]));
    modbus_set_slave(ctx, 17);
    if (rtu) {
        if (modbus_connect(ctx) != 0)
            return 1;
        printf("ready\n");
        fflush(stdout);
        serve(ctx, map, 1);
    }
    int listening = modbus_tcp_listen(ctx, 1);
    struct sockaddr_in bound;
    socklen_t size = sizeof bound;
    if (listening < 0 || getsockname(listening, (struct sockaddr *)&bound, &size) != 0)
        return 1;
    printf("%d\n", ntohs(bound.sin_port));
    fflush(stdout);
    for (;;) {
        modbus_tcp_accept(ctx, &listening);
        serve(ctx, map, 0);
        modbus_close(ctx);
    }
}
