#include "stats.h"

/* The probability that an arrival at an M/M/c queue has to wait. */
double erlang_c(int servers, double load) {
  double b = 1; /* Erlang B, by its recursion over the number of servers */
  for (int k = 1; k <= servers; k++) b = load * b / (k + load * b);
  double rho = load / servers;
  return b / (1 - rho * (1 - b));
}
