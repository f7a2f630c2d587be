/* Summary statistics of a sample. */
#ifndef STATS_H
#define STATS_H

double mean(const double *x, int n);
double variance(const double *x, int n);
double quantile(double *x, int n, double q);
double erlang_c(int servers, double load);

#endif
