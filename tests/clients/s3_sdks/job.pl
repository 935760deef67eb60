# What Net::Amazon::S3 of Perl is used for, compared byte by byte. Prints "done".
use strict;
use warnings;
use Digest::MD5 qw(md5_hex);
use Net::Amazon::S3;
use Net::Amazon::S3::Vendor::Generic;
use Net::Amazon::S3::Authorization::Basic;

sub check {
  my ($what, $got, $want) = @_;
  die "$what: " . substr($got // 'nothing', 0, 200) . ", not " . substr($want, 0, 200) unless defined $got && $got eq $want;
}

my $s3 = Net::Amazon::S3->new(
  authorization_context => Net::Amazon::S3::Authorization::Basic->new(
    aws_access_key_id => $ENV{AWS_ACCESS_KEY_ID}, aws_secret_access_key => $ENV{AWS_SECRET_ACCESS_KEY}),
  vendor => Net::Amazon::S3::Vendor::Generic->new(host => $ENV{S3_HOST}, use_https => 0, use_virtual_host => 0,
    authorization_method => 'Net::Amazon::S3::Signature::V4', default_region => 'us-east-1'),
  retry => 0);
my $client = Net::Amazon::S3::Client->new(s3 => $s3);
my $bucket = $client->create_bucket(name => 'perl', acl_short => 'private', location_constraint => 'us-east-1');

# Small and large, which this version of it cannot send in parts.
my $object = $bucket->object(key => 'dir/a b', content_type => 'text/plain');
$object->put('small');
check('small', $object->get, 'small');
my $head = $bucket->object(key => 'dir/a b');
check('exists', $head->exists ? 1 : 0, 1);
open(my $random, '<:raw', '/dev/urandom') or die;
read($random, my $large, 12 << 20);
$bucket->object(key => 'large')->put($large);
check('large', md5_hex($bucket->object(key => 'large')->get), md5_hex($large));

# Pages and groups.
$bucket->object(key => sprintf('many/%04d', $_))->put("$_") for 1 .. 120;
my $old = $s3->bucket('perl');
my $page = $old->list({ prefix => 'many/', max_keys => 50 });
check('page', scalar @{ $page->{keys} }, 50);
my $all = $old->list_all({ prefix => 'many/' });
check('all', join(' ', map { $_->{key} } @{ $all->{keys} }), join(' ', map { sprintf 'many/%04d', $_ } 1 .. 120));
check('groups', join(' ', sort @{ $old->list({ delimiter => '/' })->{common_prefixes} }), 'dir many');

# A signed address.
my $url = $bucket->object(key => 'dir/a b', expires => time() + 60)->query_string_authentication_uri;
check('presigned', LWP::UserAgent->new->get($url)->decoded_content, 'small');

check('absent', $bucket->object(key => 'absent')->exists ? 1 : 0, 0);
check('copied', $old->copy_key('copy', '/perl/large') ? 1 : 0, 1);
check('copy', md5_hex($bucket->object(key => 'copy')->get), md5_hex($large));
$bucket->object(key => $_)->delete for 'dir/a b', 'large', 'copy';
$bucket->delete_multi_object(map { $bucket->object(key => sprintf('many/%04d', $_)) } 1 .. 120);
check('empty', scalar @{ $old->list_all->{keys} }, 0);
$bucket->delete;
print "done\n";
