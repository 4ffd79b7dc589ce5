package main

import (
	"strings"
	"testing"
)

// mountinfo is what a machine with everything on it may show.
const mountinfo = `22 1 254:0 / / rw,relatime - ext4 /dev/vda1 rw
23 22 0:21 / /proc rw,nosuid - proc proc rw
30 22 0:40 / /mnt/nfs rw,relatime shared:1 - nfs4 host:/export rw,vers=4.2
31 22 0:41 / /mnt/nfs\040two rw,relatime shared:1 master:3 - nfs host:/two rw
32 22 0:42 / /mnt/win rw - cifs //host/share rw
33 22 0:43 / /mnt/smb3 rw - smb3 //host/share rw
34 22 0:44 / /home/u/remote rw - fuse.sshfs u@host: rw
35 22 0:45 / /mnt/cloud rw - fuse.rclone remote: rw
36 22 0:46 / /mnt/bucket rw - fuse.s3fs s3fs rw
37 22 0:47 / /mnt/gcs rw - fuse.gcsfuse bucket rw
38 22 0:48 / /mnt/goofys rw - fuse.goofys bucket rw
39 22 0:49 / /mnt/unknown rw - fuse.newcloud x rw
40 22 0:50 / /mnt/ntfs rw - fuseblk /dev/sdb1 rw
41 22 0:51 / /mnt/merged rw - fuse.mergerfs a:b rw
42 22 0:52 / /mnt/ceph rw - ceph 10.0.0.1:/ rw
43 22 0:53 / /mnt/plan9 rw - 9p share rw
44 22 0:54 / /mnt/lustre rw - lustre mds@tcp:/x rw
45 22 0:55 / /mnt/gluster rw - fuse.glusterfs host:/vol rw
46 30 0:56 / /mnt/nfs/local rw - xfs /dev/sdc rw
47 22 0:57 / /hidden rw - nfs host:/old rw
48 22 0:58 / /hidden rw - btrfs /dev/sdd rw
49 22 0:59 / /mnt/tmp rw - tmpfs tmpfs rw
50 22 0:60 / /mnt/over rw - overlay overlay rw
torn line
51 22 0:61 / /mnt/torn
`

func TestMountedType(t *testing.T) {
	tests := []struct {
		path, fstype string
		network      bool
	}{
		{"/", "ext4", false},
		{"/var/lib/vitrine", "ext4", false},
		{"/mnt/nfs", "nfs4", true},
		{"/mnt/nfs/deep/vitrine.db", "nfs4", true},
		{"/mnt/nfs/local/x", "xfs", false},
		{"/mnt/nfsx", "ext4", false},
		{"/mnt/nfs two/x", "nfs", true},
		{"/mnt/win/x", "cifs", true},
		{"/mnt/smb3/x", "smb3", true},
		{"/home/u/remote/x", "fuse.sshfs", true},
		{"/mnt/cloud/x", "fuse.rclone", true},
		{"/mnt/bucket/x", "fuse.s3fs", true},
		{"/mnt/gcs/x", "fuse.gcsfuse", true},
		{"/mnt/goofys/x", "fuse.goofys", true},
		{"/mnt/unknown/x", "fuse.newcloud", true},
		{"/mnt/ntfs/x", "fuseblk", false},
		{"/mnt/merged/x", "fuse.mergerfs", false},
		{"/mnt/ceph/x", "ceph", true},
		{"/mnt/plan9/x", "9p", true},
		{"/mnt/lustre/x", "lustre", true},
		{"/mnt/gluster/x", "fuse.glusterfs", true},
		{"/hidden/x", "btrfs", false},
		{"/mnt/tmp/x", "tmpfs", false},
		{"/mnt/over/x", "overlay", false},
	}
	for _, tt := range tests {
		got, err := mountedType(strings.NewReader(mountinfo), tt.path)
		if err != nil {
			t.Fatal(err)
		}
		if got != tt.fstype {
			t.Errorf("mountedType(%q) = %q, want %q", tt.path, got, tt.fstype)
		}
		if isNetworkType(got) != tt.network {
			t.Errorf("isNetworkType(%q) = %v, want %v", got, !tt.network, tt.network)
		}
	}
}

func TestFileSystemOfThisMachine(t *testing.T) {
	if err := refuseNetworkFS(t.TempDir() + "/vitrine.db"); err != nil {
		t.Errorf("the folder for tests: %v", err)
	}
	if err := refuseNetworkFS(t.TempDir() + "/missing/vitrine.db"); err == nil {
		t.Error("a folder that does not exist was found to be local")
	}
}
