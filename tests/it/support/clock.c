/* Makes the clocks of a program jump: the file that CLOCK_JUMPS names has the seconds that the wall clock and the monotonic clock
 * are ahead, and may change at any time. Preloaded, so that the program is the one that users have. */

#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void jumps(long *wall, long *monotonic) {
    char text[64] = {0}, *rest;
    const char *path = getenv("CLOCK_JUMPS");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    *wall = *monotonic = 0;
    if (file < 0)
        return;
    if (read(file, text, sizeof text - 1) > 0) {
        *wall = strtol(text, &rest, 10);
        *monotonic = strtol(rest, NULL, 10);
    }
    close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    long wall, monotonic;
    long failed = syscall(SYS_clock_gettime, clock, now);
    if (failed)
        return -1;
    jumps(&wall, &monotonic);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        now->tv_sec += wall;
    if (clock == CLOCK_MONOTONIC)
        now->tv_sec += monotonic;
    return 0;
}
