// Package localcas is the LocalCAS protocol, which casd serves to the programs of its
// machine. local_cas.proto says what its messages mean.
package localcas
