// SPDX-License-Identifier: Apache-2.0
// Lets the real ipvsadm run where the kernel has no IPVS: preloaded, it answers IPVS's socket options itself
// (include/uapi/linux/ip_vs.h) and prints what ipvsadm wanted set, as "command hex".
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { BASE_CTL = 64 + 1024 + 64, LAST_CTL = BASE_CTL + 63, GET_INFO = BASE_CTL + 1 };

int getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
    static int (*real)(int, int, int, void *, socklen_t *);
    if (level == IPPROTO_IP && name >= BASE_CTL && name <= LAST_CTL) {
        unsigned int info[3] = {0x010201, 4096, 0}; // version, hash size, services
        memset(value, 0, *length);
        if (name == GET_INFO && *length >= sizeof info)
            memcpy(value, info, sizeof info);
        return 0;
    }
    if (!real)
        real = dlsym(RTLD_NEXT, "getsockopt");
    return real(fd, level, name, value, length);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    static int (*real)(int, int, int, const void *, socklen_t);
    if (level == IPPROTO_IP && name >= BASE_CTL && name <= LAST_CTL) {
        printf("%d ", name - BASE_CTL);
        for (socklen_t i = 0; i < length; i++)
            printf("%02x", ((const unsigned char *)value)[i]);
        printf("\n");
        return 0;
    }
    if (!real)
        real = dlsym(RTLD_NEXT, "setsockopt");
    return real(fd, level, name, value, length);
}
