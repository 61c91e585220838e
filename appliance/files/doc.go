// Package files keeps ordinary files (hosts, keys, certificates, any configuration) on a head as the state says: content,
// mode and owner.
//
// When a file's record changes, and when a head has started anew, the state's version is put in place at once. What was
// there and is none of the known versions is kept beside it as PATH.old.NN. A file that somebody changes by hand later
// stays as it is, and is reported: a certificate that was just renewed, or an edit that is not finished, must not be
// taken back behind somebody's back. The administrator decides which one is right: "file add" makes the changed file
// everybody's, "file restore" puts the state's version back.
//
// What the state says and where contents come from are functions of Config.
package files
